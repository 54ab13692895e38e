-- Detaches a number that was never ours, for the worker that has its token. Returns whether it did.
-- A request that came meanwhile (another generation) is reconciled at once instead.
create or replace function forget_number(of_number uuid, by_token uuid, of_generation uuid) returns boolean language plpgsql
set search_path = textback, pg_temp as $$
declare
    locked record;
begin
    select generation, carrier_id into locked from number where id = of_number and lease_token = by_token for no key update;
    if not found then
        return false;
    end if;
    if locked.generation <> of_generation or locked.carrier_id is not null then
        update number set check_at = now(), lease_token = null, leased_until = null where id = of_number;
        return false;
    end if;
    perform detach_number(of_number);
    return true;
end $$;
