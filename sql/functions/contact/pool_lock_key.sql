-- The key of the advisory lock of a pool and a contact. See contact_lock_key.
create or replace function pool_lock_key(of_project uuid, of_pool text, of_contact text) returns bigint language sql immutable parallel safe
return hashtextextended(of_project::text || ' ' || of_pool || ' ' || of_contact, 0);
