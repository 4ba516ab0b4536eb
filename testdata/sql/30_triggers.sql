-- The counters as they behave in the field, their weaknesses included.
create function public.touch_updated_at() returns trigger
language plpgsql
as $$
begin
    new.updated_at := now();
    return new;
end
$$;
create trigger agents_updated_at before update on public.agents
    for each row execute function public.touch_updated_at();
create trigger chat_messages_v2_updated_at before update on public.chat_messages_v2
    for each row execute function public.touch_updated_at();
create trigger temporary_chat_links_updated_at before update on public.temporary_chat_links
    for each row execute function public.touch_updated_at();
create trigger temporary_chat_sessions_updated_at before update on public.temporary_chat_sessions
    for each row execute function public.touch_updated_at();

-- A message counts for the conversation session that its session_id names, which may be none.
create function public.update_session_activity() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
    update public.conversation_sessions c
    set last_active = now(), message_count = c.message_count + 1
    where c.id = new.session_id;
    return null;
end
$$;
create trigger chat_messages_v2_activity after insert on public.chat_messages_v2
    for each row execute function public.update_session_activity();

-- Only a changed message_count is activity.
create function public.temp_session_activity() returns trigger
language plpgsql
as $$
begin
    if new.message_count is distinct from old.message_count then
        if old.last_message_at > now() - interval '1 minute' then
            new.messages_in_current_minute := old.messages_in_current_minute + 1;
        else
            new.messages_in_current_minute := 1;
        end if;
        new.last_activity_at := now();
        new.last_message_at := now();
    end if;
    if new.ended_at is not null and old.ended_at is null then
        new.session_duration_seconds := floor(extract(epoch from new.ended_at - new.started_at));
    end if;
    return new;
end
$$;
create trigger temporary_chat_sessions_activity before update on public.temporary_chat_sessions
    for each row execute function public.temp_session_activity();

-- The arms exclude one another: an update that changes both message_count and status does not free its place.
create function public.temp_link_statistics() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
    if tg_op = 'INSERT' then
        update public.temporary_chat_links l
        set session_count = l.session_count + 1, last_accessed_at = now()
        where l.id = new.link_id;
    elsif new.message_count is distinct from old.message_count then
        update public.temporary_chat_links l
        set total_messages = l.total_messages + new.message_count - old.message_count, last_accessed_at = now()
        where l.id = new.link_id;
    elsif old.status = 'active' and new.status <> 'active' then
        update public.temporary_chat_links l
        set session_count = greatest(0, l.session_count - 1)
        where l.id = new.link_id;
    end if;
    return null;
end
$$;
create trigger temporary_chat_sessions_statistics after insert or update on public.temporary_chat_sessions
    for each row execute function public.temp_link_statistics();
