-- The answer that an idempotency key ($2) of a project ($1) got, if the request was the same ($3
-- its hash).
select case when request_hash = $3 then 'replayed' else 'key_reused' end as "outcome!: _", message_id, session_id, send_at, number, pool_id,
       null::double precision as retry_after_seconds
  from idempotency_key where project_id = $1 and key = $2
