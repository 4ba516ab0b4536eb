-- end_temp_chat_session as deployed: every call ends in 42883, because vault.decrypt_secret does not exist.
create or replace function public.end_temp_chat_session(
    p_session_token text, p_end_reason text default 'completed', p_satisfaction_rating integer default null,
    p_feedback_text text default null
)
returns boolean
language plpgsql security definer set search_path = public
as $$
declare
    session uuid;
begin
    select s.id into session
    from temporary_chat_sessions s
    where s.status = 'active' and vault.decrypt_secret(s.vault_session_token_id) = p_session_token;
    if session is null then
        return false;
    end if;
    update temporary_chat_sessions s
    set status = 'ended', ended_at = now(), end_reason = p_end_reason, satisfaction_rating = p_satisfaction_rating,
        feedback_text = p_feedback_text
    where s.id = session;
    return true;
end
$$;
