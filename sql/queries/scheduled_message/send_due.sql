-- Sends scheduled messages that are due, at most $1. $2: two new ids for each, of a session and a turn. $3: if not
-- null, only these messages.
select message_id, project_id, session_id, outcome, late_seconds from send_due_messages($1, $2, $3)
