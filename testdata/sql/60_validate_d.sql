-- validate_temp_chat_session, variant D: ten columns, one row with is_valid = false for a token that is unknown or over. A
-- deactivated link or a reached limit does not matter.
drop function if exists public.validate_temp_chat_session(text);
create function public.validate_temp_chat_session(p_session_token text)
returns table (
    is_valid boolean, session_id uuid, conversation_id uuid, agent_id uuid, agent_name text, current_message_count integer,
    max_messages_per_session integer, session_timeout_minutes integer, link_title text, expires_at timestamptz
)
language plpgsql security definer set search_path = public
as $$
#variable_conflict use_column
declare
    token_secret uuid;
begin
    -- Decrypts the whole vault, whatever its secrets are for.
    select v.id into token_secret from vault.secrets v where vault_decrypt(v.id::text) = p_session_token limit 1;
    return query
    select true, s.id, s.conversation_id, l.agent_id, a.name,
        (select count(*)::integer from chat_messages_v2 m where m.conversation_id = s.conversation_id and m.role = 'user'),
        l.max_messages_per_session, l.session_timeout_minutes, l.title, l.expires_at
    from temporary_chat_sessions s
    join temporary_chat_links l on l.id = s.link_id
    join agents a on a.id = l.agent_id
    where s.vault_session_token_id = token_secret and s.status = 'active' and l.expires_at > now();
    if not found then
        return query
        select false, null::uuid, null::uuid, null::uuid, null::text, 0, 0, 0, null::text, null::timestamptz;
    end if;
end
$$;
grant execute on function public.validate_temp_chat_session(text) to anon, authenticated, service_role;
