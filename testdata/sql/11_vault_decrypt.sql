-- vault_decrypt in the form that most deployments have: it insists on the service role, but a call without a JWT passes,
-- because the comparison with NULL is not true. 12_vault_open.sql has the form without the check.
create function public.vault_decrypt(vault_id text) returns text
language plpgsql stable security definer set search_path = ''
as $$
declare
    found_secret text;
begin
    if auth.role() <> 'service_role' then
        raise exception 'Access denied: vault_decrypt requires service_role';
    end if;
    select d.decrypted_secret into found_secret from vault.decrypted_secrets d where d.id = vault_id::uuid;
    return found_secret;
end
$$;
revoke all on function public.vault_decrypt(text) from public;
grant execute on function public.vault_decrypt(text) to service_role;
