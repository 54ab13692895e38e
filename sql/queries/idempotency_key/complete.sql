-- Records the session ($3) or the time ($4) of the message that the request with a key ($2) of a
-- project ($1) made, and its number ($5) and pool ($6).
update idempotency_key set session_id = $3, send_at = $4, number = $5, pool_id = $6 where project_id = $1 and key = $2
