-- Locks a number ($1) and a contact ($2) until the transaction ends.
select lock_contact($1, $2)
