-- A contact without its middle digits, such as +1415•••0101. At least three digits of a phone
-- number are left out, and all but the end of a short code or another contact.
create or replace function mask_contact(contact text) returns text language sql immutable parallel safe
return case when contact like '+%'
            then left(contact, 1 + greatest(1, least(4, length(contact) - 8))) || '•••' || right(contact, least(4, greatest(0, length(contact) - 5)))
            when length(contact) <= 8 then '•••' || right(contact, least(2, length(contact) / 2))
            else '•••' || right(contact, least(4, length(contact) / 4)) end;
