-- The token generators and create_temp_chat_session in its newest form, repaired: tokens are compared without white space, and
-- a visitor of a shared conversation uses its one conversation session where the schema allows no second.
drop function if exists public.create_temp_chat_session(text, text, text, inet, text, text);
drop function if exists public.generate_session_token();
drop function if exists public.generate_temp_chat_token();

-- A session token is the URL-safe base64 of "uuid-epochseconds" without padding: 63 characters.
create function public.generate_session_token() returns uuid
language sql security definer set search_path = public
as $$
    select vault.create_secret(translate(encode(convert_to(
        gen_random_uuid() || '-' || floor(extract(epoch from now())), 'UTF8'), 'base64'), E'+/=\n', '-_'))
$$;

-- A link token is the URL-safe base64 of 70 bytes without padding, with the line break that encode() puts after 76 characters.
create function public.generate_temp_chat_token() returns uuid
language sql security definer set search_path = public
as $$
    select vault.create_secret(translate(encode(convert_to(
        left(gen_random_uuid()::text || gen_random_uuid(), 70), 'UTF8'), 'base64'), '+/=', '-_'))
$$;

create function public.create_temp_chat_session(
    p_link_token text, p_participant_identifier text default null, p_participant_name text default null,
    p_ip_address inet default null, p_user_agent text default null, p_referrer text default null
)
returns table (
    session_id uuid, session_token text, conversation_id uuid, agent_id uuid, agent_name text, is_valid boolean,
    error_message text, initial_agent_message text, should_send_initial boolean
)
language plpgsql security definer set search_path = public
as $$
#variable_conflict use_column
declare
    link temporary_chat_links;
    problem text := '';
    token_secret uuid;
    conversation uuid;
    conversation_session uuid;
    session uuid;
begin
    select l.* into link
    from temporary_chat_links l
    where l.is_active
        and regexp_replace(vault_decrypt(l.vault_link_token_id::text), '\s', '', 'g')
            = regexp_replace(p_link_token, '\s', '', 'g')
    limit 1;
    if link.id is null then
        problem := 'Invalid chat link';
    elsif link.expires_at <= now() then
        problem := 'Chat link has expired';
    elsif (select count(*) from temporary_chat_sessions s where s.link_id = link.id and s.status = 'active')
        >= link.max_sessions
    then
        problem := 'Maximum sessions reached';
    end if;
    if problem <> '' then
        return query
        select null::uuid, null::text, null::uuid, null::uuid, null::text, false, problem, null::text, null::boolean;
        return;
    end if;

    conversation := coalesce(link.source_conversation_id, gen_random_uuid());
    insert into conversation_sessions (conversation_id, agent_id, title)
    values (conversation, link.agent_id, link.title)
    on conflict do nothing
    returning id into conversation_session;
    if conversation_session is null then
        select c.id into conversation_session from conversation_sessions c where c.conversation_id = conversation;
    end if;

    token_secret := generate_session_token();
    insert into temporary_chat_sessions (
        link_id, vault_session_token_id, conversation_id, conversation_session_id, participant_identifier,
        participant_name, ip_address, user_agent, referrer
    )
    values (
        link.id, token_secret, conversation, conversation_session, p_participant_identifier,
        p_participant_name, p_ip_address, p_user_agent, p_referrer
    )
    returning id into session;

    if link.initial_agent_message is not null and link.send_initial_message then
        insert into chat_messages_v2 (conversation_id, session_id, role, sender_agent_id, content)
        values (conversation, conversation_session, 'assistant', link.agent_id, jsonb_build_object(
            'type', 'text', 'text', link.initial_agent_message, 'metadata', jsonb_build_object(
                'temporary_chat', true, 'temp_session_id', session, 'temp_link_id', link.id,
                'is_initial_greeting', true, 'chat_intent', link.chat_intent, 'participant_name', p_participant_name)));
    end if;

    return query
    select session, vault_decrypt(token_secret::text), conversation, link.agent_id, a.name, true, '',
        link.initial_agent_message, link.send_initial_message
    from agents a
    where a.id = link.agent_id;
end
$$;
