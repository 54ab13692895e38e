-- Locks an endpoint and a contact until the transaction ends, for everybody who changes what is
-- between them. It is always the first lock, and taken by a statement of its own: the snapshot of a
-- statement is older than a lock that the statement takes. docs/decisions/009-locks.md has the
-- reasons.
create or replace function lock_contact(of_endpoint uuid, of_contact text) returns void language plpgsql
set search_path = textback, pg_temp as $$
begin
    perform pg_advisory_xact_lock(contact_lock_key(of_endpoint, of_contact));
end $$;
