-- validate_temp_chat_session, variant E as deployed: it reads a column that the sessions table lacks (42703) and calls a vault
-- function that does not exist (42883). PL/pgSQL finds out when it is called; the column is reported.
drop function if exists public.validate_temp_chat_session(text);
create function public.validate_temp_chat_session(p_session_token text)
returns table (
    is_valid boolean, session_id uuid, conversation_id uuid, agent_id uuid, agent_name text, current_message_count integer,
    max_messages_per_session integer, session_timeout_minutes integer, link_title text, expires_at timestamptz,
    chat_intent text, system_prompt_override text
)
language plpgsql security definer set search_path = public
as $$
#variable_conflict use_column
begin
    return query
    select tcs.status = 'active' and tcs.expires_at > now(), tcs.id, tcs.conversation_id, l.agent_id, a.name, 0,
        l.max_messages_per_session, l.session_timeout_minutes, l.title, tcs.expires_at, l.chat_intent,
        l.system_prompt_override
    from temporary_chat_sessions tcs
    join temporary_chat_links l on l.id = tcs.link_id
    join agents a on a.id = l.agent_id
    where vault.decrypt_secret(tcs.vault_session_token_id) = p_session_token;
end
$$;
grant execute on function public.validate_temp_chat_session(text) to anon, authenticated, service_role;
