-- check_temp_chat_rate_limit in its newest form: counts role = 'user' rows of the conversation in the current calendar minute,
-- which are never the visitor's, and answers allowed = false for an unknown token.
drop function if exists public.check_temp_chat_rate_limit(text);
create function public.check_temp_chat_rate_limit(p_session_token text)
returns table (allowed boolean, current_count integer, limit_per_minute integer, reset_time timestamptz)
language plpgsql security definer set search_path = public
as $$
declare
    minute timestamptz := date_trunc('minute', now());
begin
    return query
    select sent.messages < l.rate_limit_per_minute, sent.messages, l.rate_limit_per_minute, minute + interval '1 minute'
    from temporary_chat_sessions s
    join temporary_chat_links l on l.id = s.link_id
    cross join lateral (
        select count(*)::integer as messages
        from chat_messages_v2 m
        where m.conversation_id = s.conversation_id and m.role = 'user' and m.created_at >= minute
    ) sent
    where s.status = 'active' and vault_decrypt(s.vault_session_token_id::text) = p_session_token;
    if not found then
        return query select false, 0, 0, now() + interval '1 minute';
    end if;
end
$$;
grant execute on function public.check_temp_chat_rate_limit(text) to anon, authenticated, service_role;
