-- The first half of HMAC-SHA256 of a contact and its project, in hexadecimal. The pads are those of
-- reporting_key.
create or replace function contact_key(inner_pad bytea, outer_pad bytea, of_project uuid, contact text) returns text
language sql stable parallel safe
return encode(substr(sha256(outer_pad || sha256(inner_pad || uuid_send(of_project) || convert_to(contact, 'UTF8'))), 1, 16), 'hex');
