-- The two clean-up functions. Nothing calls them without pg_cron, which is not here; tests call them.
create or replace function public.expire_inactive_sessions() returns integer
language plpgsql security definer set search_path = public
as $$
declare
    expired integer;
begin
    update temporary_chat_sessions s
    set status = 'expired', end_reason = 'timeout', ended_at = now()
    from temporary_chat_links l
    where l.id = s.link_id and s.status = 'active'
        and s.last_activity_at < now() - make_interval(mins => l.session_timeout_minutes);
    get diagnostics expired = row_count;
    return expired;
end
$$;

-- Its 30 minutes ignore the link's own timeout.
create or replace function public.cleanup_expired_temp_chats() returns integer
language plpgsql security definer set search_path = public
as $$
declare
    expired integer;
begin
    update temporary_chat_links set is_active = false where is_active and expires_at <= now();
    update temporary_chat_sessions
    set status = 'expired', end_reason = 'timeout', ended_at = now()
    where status = 'active' and last_activity_at < now() - interval '30 minutes';
    get diagnostics expired = row_count;
    return expired;
end
$$;
