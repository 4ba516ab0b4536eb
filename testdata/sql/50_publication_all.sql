-- Publication profile all: messages, sessions and links.
-- It is altered, never dropped, so that a running replication keeps its publication; any profile may follow another.
do $$
begin
    if not exists (select 1 from pg_publication where pubname = 'supabase_realtime') then
        create publication supabase_realtime;
    end if;
end
$$;
alter publication supabase_realtime set table
    public.chat_messages_v2, public.temporary_chat_sessions, public.temporary_chat_links;
