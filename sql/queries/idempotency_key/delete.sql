-- Frees the idempotency key $2 of a project ($1) for another try, because nothing was done.
delete from idempotency_key where project_id = $1 and key = $2
