-- A contact ($4) of an endpoint ($3, of the project $2) opts in with the body $5 of the message $6.
-- $1: a new id.
insert into consent (id, project_id, endpoint_id, contact, kind, source, said, message_id, recorded_at)
values ($1, $2, $3, $4, 'opted_in', 'keyword', left($5, 1600), $6, clock_timestamp())
