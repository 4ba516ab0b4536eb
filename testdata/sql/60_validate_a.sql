-- validate_temp_chat_session, variant A: thirteen columns, no row for an unknown token; is_valid also covers the link's state
-- and the message limit. Execution is left to PUBLIC, as by default.
drop function if exists public.validate_temp_chat_session(text);
create function public.validate_temp_chat_session(p_session_token text)
returns table (
    session_id uuid, link_id uuid, agent_id uuid, agent_name text, conversation_id uuid, is_valid boolean,
    expires_at timestamptz, title text, description text, welcome_message text, max_messages_per_session integer,
    current_message_count integer, rate_limit_per_minute integer
)
language plpgsql security definer set search_path = public
as $$
#variable_conflict use_column
begin
    return query
    select s.id, l.id, l.agent_id, a.name, s.conversation_id,
        s.status = 'active' and l.is_active and l.expires_at > now() and sent.messages < l.max_messages_per_session,
        l.expires_at, l.title, l.description, l.welcome_message, l.max_messages_per_session, sent.messages,
        l.rate_limit_per_minute
    from temporary_chat_sessions s
    join temporary_chat_links l on l.id = s.link_id
    join agents a on a.id = l.agent_id
    cross join lateral (
        select count(*)::integer as messages
        from chat_messages_v2 m
        where m.conversation_id = s.conversation_id and m.role = 'user'
    ) sent
    where vault_decrypt(s.vault_session_token_id::text) = p_session_token;
end
$$;
