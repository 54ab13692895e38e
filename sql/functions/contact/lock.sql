-- Locks an endpoint and a contact until the transaction ends, for everybody who changes what is between them. It is always
-- the first lock, and taken by a statement of its own: the snapshot of a statement is older than a lock that the
-- statement takes.
-- The key has 64 bits, because hashes of 32 bits collide 107 times in a million contacts.
create or replace function lock_contact(of_endpoint uuid, of_contact text) returns void language plpgsql
set search_path = textback, pg_temp as $$
begin
    perform pg_advisory_xact_lock(hashtextextended(of_endpoint::text || ' ' || of_contact, 0));
end $$;
