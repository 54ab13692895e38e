-- Locks sessions whose inactivity job is due, at most $1, and loads what decides about them. $2: if
-- not null, only these.
select session_id as "session_id!", project_id as "project_id!", endpoint_id as "endpoint_id!", contact as "contact!",
       "now" as "now!", channel as "channel!: _", status as "status!: _", last_message_at as "last_message_at!",
       warn_after_seconds as "warn_after_seconds!", grace_seconds as "grace_seconds!", warning_body as "warning_body!",
       closing_body, owes_answer as "owes_answer!", quiet_hours as "quiet_hours: _",
       warning_status as "warning_status: _", warning_accepted_at, send_policy as "send_policy!: _", has_limits as "has_limits!",
       smart_encoding as "smart_encoding!"
  from load_inactive_sessions($1, $2)
