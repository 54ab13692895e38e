-- A contact ($4) of an endpoint ($3, of the project $2) opts out with the body $5 of the message $6
-- on the channel $7. $1: a new id. Tells how many sessions end with it.
select opt_out($1, $2, $3, $4, 'keyword', $5, $6, $7),
       (select count(*) from session where endpoint_id = $3 and contact = $4 and channel = $7 and status <> 'closed') as "closed!"
