-- The country calling code of a phone number, without the plus (ITU-T E.164). Null for a short code
-- and other contacts. The codes with one or two digits come first, because the longest alternative
-- of a regular expression wins.
create or replace function calling_code(contact text) returns text language sql immutable parallel safe
return coalesce(substring(contact from '^\+(1|7|2[07]|3[0-469]|4[0134-9]|5[1-8]|6[0-6]|8[1246]|9[0-58])'),
                substring(contact from '^\+([2-9][0-9]{2})'));
