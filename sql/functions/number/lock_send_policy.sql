-- What may be sent from an endpoint. A number that may not send is locked, because its registration
-- may be changing right now. Most numbers are open and not locked.
create or replace function lock_send_policy(of_endpoint uuid) returns text language plpgsql
set search_path = textback, pg_temp as $$
declare
    policy text;
begin
    select send_policy into policy from number where id = of_endpoint and send_policy <> 'open' for share;
    return coalesce(policy, 'open');
end $$;
