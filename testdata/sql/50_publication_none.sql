-- Publication profile none: the publication that a project is created with, holding no table of temporary chat.
-- It is altered, never dropped, so that a running replication keeps its publication; any profile may follow another.
do $$
begin
    if not exists (select 1 from pg_publication where pubname = 'supabase_realtime') then
        create publication supabase_realtime;
    end if;
    execute (
        select coalesce('alter publication supabase_realtime drop table '
            || string_agg(format('%I.%I', schemaname, tablename), ', '), 'select 1')
        from pg_publication_tables
        where pubname = 'supabase_realtime'
    );
end
$$;
