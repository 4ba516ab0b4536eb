-- check_temp_chat_rate_limit in its first form: a rolling minute from the counters of the session row, which stop moving
-- because the handler writes the same message_count again and again.
drop function if exists public.check_temp_chat_rate_limit(text);
create function public.check_temp_chat_rate_limit(p_session_token text)
returns table (allowed boolean, current_count integer, limit_per_minute integer, reset_time timestamptz)
language plpgsql security definer set search_path = public
as $$
begin
    return query
    select sent.messages < l.rate_limit_per_minute, sent.messages, l.rate_limit_per_minute,
        coalesce(s.last_message_at, now()) + interval '1 minute'
    from temporary_chat_sessions s
    join temporary_chat_links l on l.id = s.link_id
    cross join lateral (
        select case when s.last_message_at > now() - interval '1 minute' then s.messages_in_current_minute else 0 end
            as messages
    ) sent
    where s.status = 'active' and vault_decrypt(s.vault_session_token_id::text) = p_session_token;
end
$$;
