-- The parts of Supabase's own schemas that the chat schema leans on.
create schema auth;
grant usage on schema auth to anon, authenticated, service_role;

create table auth.users (
    id uuid primary key,
    email text
);

create function auth.jwt() returns jsonb
language sql stable
as $$
    select nullif(current_setting('request.jwt.claims', true), '')::jsonb
$$;

-- NULL without a JWT, which is how plain SQL calls it.
create function auth.role() returns text
language sql stable
as $$
    select coalesce(nullif(current_setting('request.jwt.claim.role', true), ''), auth.jwt() ->> 'role')
$$;

create function auth.uid() returns uuid
language sql stable
as $$
    select coalesce(nullif(current_setting('request.jwt.claim.sub', true), ''), auth.jwt() ->> 'sub')::uuid
$$;

-- A vault that keeps its secrets readable; names and signatures are those of Supabase Vault, which has no decrypt_secret.
create schema vault;
grant usage on schema vault to service_role;

create table vault.secrets (
    id uuid primary key default gen_random_uuid(),
    name text unique,
    description text not null default '',
    secret text not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create view vault.decrypted_secrets as
select id, name, description, secret, secret as decrypted_secret, created_at, updated_at
from vault.secrets;
grant select on vault.secrets, vault.decrypted_secrets to service_role;

create function vault.create_secret(new_secret text, new_name text default null, new_description text default '')
returns uuid
language sql security definer set search_path = ''
as $$
    insert into vault.secrets (secret, name, description) values (new_secret, new_name, new_description) returning id
$$;
revoke all on function vault.create_secret(text, text, text) from public;
grant execute on function vault.create_secret(text, text, text) to service_role;
