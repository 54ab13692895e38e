-- Sends or schedules a text, once for an idempotency key: see the function send_once.
select outcome as "outcome!: _", message_id as "message_id!", session_id, send_at, retry_after_seconds
  from send_once($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
