-- The tables of temporary chat as the migrations leave them where they were applied in order.
create table public.agents (
    id uuid primary key default gen_random_uuid(),
    name text not null,
    user_id uuid references auth.users (id) on delete cascade,
    created_at timestamptz default now(),
    updated_at timestamptz default now()
);

create table public.conversation_sessions (
    id uuid primary key default gen_random_uuid(),
    conversation_id uuid not null,
    user_id uuid references auth.users (id) on delete cascade,
    agent_id uuid references public.agents (id) on delete cascade,
    started_at timestamptz default now(),
    ended_at timestamptz,
    last_active timestamptz default now(),
    message_count integer default 0,
    total_tokens_used integer default 0,
    tool_calls_count integer default 0,
    session_state jsonb default '{}',
    interruption_context jsonb default '{}',
    status varchar(20) default 'active',
    title text,
    constraint conversation_sessions_status_check check (status in ('active', 'paused', 'completed', 'abandoned')),
    constraint check_session_actor check (user_id is not null or agent_id is not null)
);
alter table public.conversation_sessions replica identity full;
create index idx_conversation_sessions_conversation on public.conversation_sessions (conversation_id);

create table public.chat_messages_v2 (
    id uuid primary key default gen_random_uuid(),
    version varchar(10) not null default '1.0.0',
    conversation_id uuid not null,
    session_id uuid not null,
    parent_message_id uuid references public.chat_messages_v2 (id),
    channel_id uuid,
    sender_user_id uuid references auth.users (id),
    sender_agent_id uuid references public.agents (id) on delete cascade,
    role varchar(20) not null,
    content jsonb not null,
    metadata jsonb default '{}',
    context jsonb default '{}',
    tools jsonb,
    memory_refs uuid[],
    state_snapshot_id uuid,
    audit jsonb,
    created_at timestamptz default now(),
    updated_at timestamptz default now(),
    constraint chat_messages_v2_role_check check (role in ('system', 'user', 'assistant', 'tool')),
    -- Exactly one sender, or none for system and tool rows: an anonymous visitor can be stored as role system only.
    constraint check_actor_exclusivity check (
        (sender_user_id is not null and sender_agent_id is null)
        or (sender_user_id is null and sender_agent_id is not null)
        or (role in ('system', 'tool') and sender_user_id is null and sender_agent_id is null)
    ),
    constraint check_content_structure check (
        content ? 'type' and content ->> 'type' in ('text', 'structured', 'multimodal', 'tool_result')
    )
);
create index idx_messages_v2_conversation on public.chat_messages_v2 (conversation_id, created_at);
create index idx_messages_v2_session on public.chat_messages_v2 (session_id);
create index idx_messages_v2_channel on public.chat_messages_v2 (channel_id) where channel_id is not null;
create index idx_messages_v2_sender_user on public.chat_messages_v2 (sender_user_id) where sender_user_id is not null;
create index idx_messages_v2_sender_agent on public.chat_messages_v2 (sender_agent_id) where sender_agent_id is not null;
create index idx_messages_v2_content on public.chat_messages_v2 using gin (content);
create index idx_messages_v2_metadata on public.chat_messages_v2 using gin (metadata);

create table public.temporary_chat_links (
    id uuid primary key default gen_random_uuid(),
    agent_id uuid not null references public.agents (id) on delete cascade,
    user_id uuid not null references auth.users (id) on delete cascade,
    vault_link_token_id uuid not null unique references vault.secrets (id),
    short_code text unique,
    title text not null,
    description text,
    welcome_message text,
    expires_at timestamptz not null,
    max_sessions integer default 1,
    max_messages_per_session integer default 100,
    session_timeout_minutes integer default 30,
    session_count integer default 0,
    total_messages integer default 0,
    last_accessed_at timestamptz,
    is_active boolean default true,
    allowed_domains text[],
    allowed_ips inet[],
    rate_limit_per_minute integer default 10,
    link_metadata jsonb default '{}',
    ui_customization jsonb default '{}',
    created_at timestamptz default now(),
    updated_at timestamptz default now(),
    source_conversation_id uuid,
    chat_intent text,
    system_prompt_override text,
    initial_agent_message text,
    send_initial_message boolean not null default true,
    constraint temp_links_title_check check (length(title) between 1 and 200 and title !~ '[[:cntrl:]]'),
    constraint temp_links_description_check check (length(description) <= 1000),
    constraint temp_links_welcome_check check (length(welcome_message) <= 2000),
    constraint temp_links_intent_check check (length(chat_intent) <= 2000),
    constraint temp_links_prompt_check check (length(system_prompt_override) <= 4000),
    constraint temp_links_initial_check check (length(initial_agent_message) <= 2000),
    constraint temp_links_expires_check check (expires_at > created_at),
    constraint temp_links_sessions_check check (max_sessions between 1 and 50),
    constraint temp_links_messages_check check (max_messages_per_session between 1 and 1000),
    constraint temp_links_timeout_check check (session_timeout_minutes between 5 and 1440),
    constraint temp_links_rate_check check (rate_limit_per_minute between 1 and 100)
);

-- No expires_at and no readable token: a session expires with its link, its token lies in the vault.
create table public.temporary_chat_sessions (
    id uuid primary key default gen_random_uuid(),
    link_id uuid not null references public.temporary_chat_links (id) on delete cascade,
    vault_session_token_id uuid not null unique references vault.secrets (id),
    conversation_id uuid not null,
    conversation_session_id uuid references public.conversation_sessions (id) on delete set null,
    participant_identifier text,
    participant_name text,
    participant_metadata jsonb default '{}',
    started_at timestamptz default now(),
    last_activity_at timestamptz default now(),
    ended_at timestamptz,
    message_count integer default 0,
    total_characters_sent integer default 0,
    messages_in_current_minute integer default 0,
    rate_limit_violations integer default 0,
    session_duration_seconds integer,
    status text default 'active',
    end_reason text,
    ip_address inet,
    user_agent text,
    referrer text,
    country_code text,
    last_message_at timestamptz,
    satisfaction_rating integer,
    feedback_text text,
    session_metadata jsonb default '{}',
    created_at timestamptz default now(),
    updated_at timestamptz default now(),
    constraint temp_sessions_status_check check (status in ('active', 'ended', 'expired', 'terminated', 'error')),
    constraint temp_sessions_end_reason_check check (
        end_reason in ('completed', 'timeout', 'expired', 'terminated', 'error', 'max_messages', 'max_duration')
    ),
    constraint temp_sessions_name_check check (length(participant_name) <= 100),
    constraint temp_sessions_feedback_check check (length(feedback_text) <= 1000),
    constraint temp_sessions_rating_check check (satisfaction_rating between 1 and 5),
    constraint temp_sessions_ended_check check (ended_at >= started_at)
);
create index idx_temp_sessions_link on public.temporary_chat_sessions (link_id);
create index idx_temp_sessions_conversation on public.temporary_chat_sessions (conversation_id);
