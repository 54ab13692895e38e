-- Locks a pool of a project and a contact until the transaction ends, for who chooses the number
-- that sends to the contact: two that choose at the same time would choose two numbers and open two
-- sessions. It comes before the lock of the number and the contact, and who holds such a lock never
-- waits for this one.
create or replace function lock_pool(of_project uuid, of_pool text, of_contact text) returns void language plpgsql
set search_path = textback, pg_temp as $$
begin
    perform pg_advisory_xact_lock(pool_lock_key(of_project, of_pool, of_contact));
end $$;
