-- Records the session ($3) or the time ($4) of the message that the request with a key ($2) of a project ($1) made.
update idempotency_key set session_id = $3, send_at = $4 where project_id = $1 and key = $2
