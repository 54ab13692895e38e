-- What decides about a text of a project ($1) from a number ($2) to a contact ($3), who may be in the countries $4.
select load_send_facts($1, $2, $3, $4, false) as "facts!: _"
