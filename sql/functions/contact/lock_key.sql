-- The key of the advisory lock of an endpoint and a contact. It has 64 bits, because hashes of 32
-- bits collide 107 times in a million contacts. PostgreSQL puts this expression into the statements
-- that use it, so it costs no call.
create or replace function contact_lock_key(of_endpoint uuid, of_contact text) returns bigint language sql immutable parallel safe
return hashtextextended(of_endpoint::text || ' ' || of_contact, 0);
