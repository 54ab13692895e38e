-- What decides about a text of a project ($1) from a number ($2) to a contact ($3), who may be in the countries $4, on the channel $5.
select load_send_facts($1, $2, $3, $4, false, $5) as "facts!: _"
