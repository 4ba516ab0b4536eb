-- Row level security with the policies of the field, the too generous ones included.
alter table public.agents enable row level security;
alter table public.conversation_sessions enable row level security;
alter table public.chat_messages_v2 enable row level security;
alter table public.temporary_chat_links enable row level security;
alter table public.temporary_chat_sessions enable row level security;

create policy agents_service on public.agents for all to service_role using (true) with check (true);
create policy agents_owner on public.agents for all to authenticated
    using (user_id = auth.uid()) with check (user_id = auth.uid());

create policy conversation_sessions_service on public.conversation_sessions for all to service_role
    using (true) with check (true);
create policy conversation_sessions_owner on public.conversation_sessions for all to authenticated
    using (user_id = auth.uid()) with check (user_id = auth.uid());

create policy messages_service on public.chat_messages_v2 for all to service_role using (true) with check (true);
create policy messages_own on public.chat_messages_v2 for select to authenticated
    using (sender_user_id = auth.uid()
        or sender_agent_id in (select a.id from public.agents a where a.user_id = auth.uid()));
-- Any signed-in user may write into any conversation as himself.
create policy "messages_insert (debug)" on public.chat_messages_v2 for insert to authenticated
    with check (sender_user_id = auth.uid());
-- A link's owner has everything that belongs to its conversations.
create policy temp_chat_messages on public.chat_messages_v2 for all to authenticated
    using (exists (
        select 1
        from public.temporary_chat_sessions s join public.temporary_chat_links l on l.id = s.link_id
        where s.conversation_id = chat_messages_v2.conversation_id and l.user_id = auth.uid()
    ));

create policy temp_links_service on public.temporary_chat_links for all to service_role using (true) with check (true);
create policy temp_links_owner on public.temporary_chat_links for all to authenticated
    using (user_id = auth.uid()) with check (user_id = auth.uid());
-- All columns of every usable link, to everybody.
create policy temp_links_public_validation on public.temporary_chat_links for select to anon
    using (is_active and expires_at > now());

create policy temp_sessions_service on public.temporary_chat_sessions for all to service_role
    using (true) with check (true);
-- Meant to keep anon out; being permissive, it lets every signed-in user read and change every session.
create policy temp_sessions_no_anonymous_access on public.temporary_chat_sessions for all
    using (auth.role() <> 'anon');
