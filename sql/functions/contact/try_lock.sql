-- Locks an endpoint and a contact as lock_contact does, but without waiting. Returns whether it got
-- the lock.
create or replace function try_lock_contact(of_endpoint uuid, of_contact text) returns boolean language plpgsql
set search_path = textback, pg_temp as $$
begin
    return pg_try_advisory_xact_lock(contact_lock_key(of_endpoint, of_contact));
end $$;
