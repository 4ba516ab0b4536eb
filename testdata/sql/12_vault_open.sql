-- vault_decrypt without the role check: whoever may execute it reads secrets, and validation works for anon.
create or replace function public.vault_decrypt(vault_id text) returns text
language sql stable security definer set search_path = ''
as $$
    select d.decrypted_secret from vault.decrypted_secrets d where d.id = vault_id::uuid
$$;
