-- Locks a contact ($3) and returns what decides about a text to it, from a number ($2) of a project
-- ($1) on the channel $5. $4: the countries that the contact may be in.
select load_send_facts($1, $2, $3, $4, false, $5) as "facts!: _"
