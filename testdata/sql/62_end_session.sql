-- end_temp_chat_session repaired: finds the token with the vault function that exists.
create or replace function public.end_temp_chat_session(
    p_session_token text, p_end_reason text default 'completed', p_satisfaction_rating integer default null,
    p_feedback_text text default null
)
returns boolean
language plpgsql security definer set search_path = public
as $$
declare
    ended temporary_chat_sessions;
begin
    update temporary_chat_sessions s
    set status = 'ended', ended_at = now(), end_reason = p_end_reason, satisfaction_rating = p_satisfaction_rating,
        feedback_text = p_feedback_text
    where s.status = 'active' and vault_decrypt(s.vault_session_token_id::text) = p_session_token
    returning s.* into ended;
    if ended.id is null then
        return false;
    end if;
    update conversation_sessions c set status = 'completed', ended_at = now() where c.id = ended.conversation_session_id;
    return true;
end
$$;
