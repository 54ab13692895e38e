-- Plans the project's answer to HELP ($6, of the encoding $7 and $8 segments), as the message $1 of the session $3 from a number
-- ($4, of the project $2) to a contact ($5).
select plan_message($1, $2, $3, $4, $5, 'help', $6, $7, $8, null, null, null, false, true)
