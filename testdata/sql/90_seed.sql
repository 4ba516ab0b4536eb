-- One agent, links in every state, visitors of an isolated and of a shared conversation: the world of the stand-in's fixture,
-- ids and tokens included. A test compares the two. Links are good for a day from now.
insert into auth.users (id, email) values
    ('5eed0002-0000-4000-8000-000000000002', 'owner@example.org'),
    ('5eed0003-0000-4000-8000-000000000003', 'stranger@example.org');

insert into public.agents (id, name, user_id) values
    ('5eed0001-0000-4000-8000-000000000001', 'Ada', '5eed0002-0000-4000-8000-000000000002');

-- Tokens: of the links, then of the visitors' sessions.
insert into vault.secrets (id, secret) values
    ('5eed0080-0000-4000-8000-000000000080',
        'NWVlZDAwMjAtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDIwNWVlZDAwMjAtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMA'),
    ('5eed0081-0000-4000-8000-000000000081',
        'NWVlZDAwMjEtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDIxNWVlZDAwMjEtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMA'),
    ('5eed0082-0000-4000-8000-000000000082',
        'NWVlZDAwMjItMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDIyNWVlZDAwMjItMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMA'),
    ('5eed0083-0000-4000-8000-000000000083',
        'NWVlZDAwMjMtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDIzNWVlZDAwMjMtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMA'),
    ('5eed0084-0000-4000-8000-000000000084',
        'NWVlZDAwMjQtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDI0NWVlZDAwMjQtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMA'),
    ('5eed0090-0000-4000-8000-000000000090',
        'NWVlZDAwNTAtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDUwLTE3NzI0NDU2MDA'),
    ('5eed0091-0000-4000-8000-000000000091',
        'NWVlZDAwNTEtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDUxLTE3NzI0NDU2MDA'),
    ('5eed0092-0000-4000-8000-000000000092',
        'NWVlZDAwNTItMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDUyLTE3NzI0NDU2MDA'),
    ('5eed0093-0000-4000-8000-000000000093',
        'NWVlZDAwNTMtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDUzLTE3NzI0NDU2MDA'),
    ('5eed0094-0000-4000-8000-000000000094',
        'NWVlZDAwNTQtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDU0LTE3NzI0NDU2MDA'),
    ('5eed0095-0000-4000-8000-000000000095',
        'NWVlZDAwNTUtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDU1LTE3NzI0NDU2MDA');

insert into public.temporary_chat_links (
    id, agent_id, user_id, vault_link_token_id, title, description, welcome_message, max_sessions, is_active,
    created_at, expires_at, source_conversation_id, chat_intent, system_prompt_override, initial_agent_message
)
select v.id::uuid, '5eed0001-0000-4000-8000-000000000001',
    '5eed0002-0000-4000-8000-000000000002', v.secret::uuid, v.title,
    v.description, v.welcome, v.sessions, v.active,
    now() + v.made::interval, now() + v.ends::interval, v.source::uuid, v.intent, v.prompt, v.greeting
from (values
    ('5eed0010-0000-4000-8000-000000000010', '5eed0080-0000-4000-8000-000000000080', 'Pilot feedback', 'Tell us what you think', 'Welcome!', 50, true,
        '0', '1 day', null, 'collect pilot feedback', null, 'Hello! What did you think of the pilot?'),
    ('5eed0011-0000-4000-8000-000000000011', '5eed0081-0000-4000-8000-000000000081', 'Project room', null, null, 50, true,
        '0', '1 day', '5eed0042-0000-4000-8000-000000000042', null, 'SECRET OVERRIDE', null),
    ('5eed0012-0000-4000-8000-000000000012', '5eed0082-0000-4000-8000-000000000082', 'Switched off', null, null, 1, false,
        '0', '1 day', null, null, null, null),
    ('5eed0013-0000-4000-8000-000000000013', '5eed0083-0000-4000-8000-000000000083', 'Over', null, null, 1, true,
        '-2 days', '-1 hour', null, null, null, null),
    ('5eed0014-0000-4000-8000-000000000014', '5eed0084-0000-4000-8000-000000000084', 'One at a time', null, null, 1, true,
        '0', '1 day', null, null, null, null)
) as v (id, secret, title, description, welcome, sessions, active, made, ends, source, intent, prompt, greeting);

-- The owner's own session of the shared conversation comes first: a strict schema has room for no other there.
insert into public.conversation_sessions (id, conversation_id, user_id, agent_id) values
    ('5eed0070-0000-4000-8000-000000000070', '5eed0042-0000-4000-8000-000000000042', '5eed0002-0000-4000-8000-000000000002', '5eed0001-0000-4000-8000-000000000001');
insert into public.conversation_sessions (id, conversation_id, agent_id) values
    ('5eed0060-0000-4000-8000-000000000060', '5eed0041-0000-4000-8000-000000000041', '5eed0001-0000-4000-8000-000000000001'),
    ('5eed0061-0000-4000-8000-000000000061', '5eed0042-0000-4000-8000-000000000042', '5eed0001-0000-4000-8000-000000000001'),
    ('5eed0062-0000-4000-8000-000000000062', '5eed0042-0000-4000-8000-000000000042', '5eed0001-0000-4000-8000-000000000001'),
    ('5eed0063-0000-4000-8000-000000000063', '5eed0043-0000-4000-8000-000000000043', '5eed0001-0000-4000-8000-000000000001'),
    ('5eed0064-0000-4000-8000-000000000064', '5eed0044-0000-4000-8000-000000000044', '5eed0001-0000-4000-8000-000000000001'),
    ('5eed0065-0000-4000-8000-000000000065', '5eed0045-0000-4000-8000-000000000045', '5eed0001-0000-4000-8000-000000000001')
on conflict do nothing;

insert into public.temporary_chat_sessions (
    id, link_id, vault_session_token_id, conversation_id, conversation_session_id, ip_address, participant_name
)
select v.id::uuid, v.link::uuid, v.secret::uuid, v.conversation::uuid,
    coalesce(
        (select c.id from public.conversation_sessions c where c.id = v.conversation_session::uuid),
        '5eed0070-0000-4000-8000-000000000070'
    ),
    '203.0.113.9', 'Sam'
from (values
    ('5eed0030-0000-4000-8000-000000000030', '5eed0010-0000-4000-8000-000000000010', '5eed0090-0000-4000-8000-000000000090',
        '5eed0041-0000-4000-8000-000000000041', '5eed0060-0000-4000-8000-000000000060'),
    ('5eed0031-0000-4000-8000-000000000031', '5eed0011-0000-4000-8000-000000000011', '5eed0091-0000-4000-8000-000000000091',
        '5eed0042-0000-4000-8000-000000000042', '5eed0061-0000-4000-8000-000000000061'),
    ('5eed0032-0000-4000-8000-000000000032', '5eed0011-0000-4000-8000-000000000011', '5eed0092-0000-4000-8000-000000000092',
        '5eed0042-0000-4000-8000-000000000042', '5eed0062-0000-4000-8000-000000000062'),
    ('5eed0033-0000-4000-8000-000000000033', '5eed0012-0000-4000-8000-000000000012', '5eed0093-0000-4000-8000-000000000093',
        '5eed0043-0000-4000-8000-000000000043', '5eed0063-0000-4000-8000-000000000063'),
    ('5eed0034-0000-4000-8000-000000000034', '5eed0013-0000-4000-8000-000000000013', '5eed0094-0000-4000-8000-000000000094',
        '5eed0044-0000-4000-8000-000000000044', '5eed0064-0000-4000-8000-000000000064'),
    ('5eed0035-0000-4000-8000-000000000035', '5eed0014-0000-4000-8000-000000000014', '5eed0095-0000-4000-8000-000000000095',
        '5eed0045-0000-4000-8000-000000000045', '5eed0065-0000-4000-8000-000000000065')
) as v (id, link, secret, conversation, conversation_session);
