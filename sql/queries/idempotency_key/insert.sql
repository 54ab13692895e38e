-- Inserts the idempotency key $2 of a project ($1) for a request ($3 its hash) and its message
-- ($4).
select insert_idempotency_key($1, $2, $3, $4) as "inserted!"
