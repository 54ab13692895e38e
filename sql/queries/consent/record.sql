-- An operator records ($1, of the project $2) what a contact ($4) wants of an endpoint ($3):
-- opted_out or opted_in ($5), with a note ($6). On the channel $7 an open session ends. Tells how
-- many end.
select record_consent($1, $2, $3, $4, $5, $6, $7),
       (select count(*) from session
         where $5::text = 'opted_out' and endpoint_id = $3 and contact = $4 and channel = $7 and status <> 'closed') as "closed!"
