-- Publication profile messages: rows are published, endings have to be found by reading.
-- It is altered, never dropped, so that a running replication keeps its publication; any profile may follow another.
do $$
begin
    if not exists (select 1 from pg_publication where pubname = 'supabase_realtime') then
        create publication supabase_realtime;
    end if;
end
$$;
alter publication supabase_realtime set table public.chat_messages_v2;
