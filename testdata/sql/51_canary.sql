-- The optional canary table: each node of the proxy writes its row every 2 s and listens for it. Nobody else may see or touch it.
create table if not exists public.realtime_proxy_canary (id uuid primary key, beat timestamptz not null);
alter table public.realtime_proxy_canary replica identity default;
alter table public.realtime_proxy_canary enable row level security;
revoke all on public.realtime_proxy_canary from public, anon, authenticated;
grant select, insert, update, delete on public.realtime_proxy_canary to service_role;
alter publication supabase_realtime add table public.realtime_proxy_canary;
