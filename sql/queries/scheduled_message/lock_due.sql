-- Locks scheduled messages that are due, at most $1. $2: if not null, only these.
select message_id as "message_id!", project_id as "project_id!", pool_id, contact as "contact!" from lock_due_messages($1, $2)
