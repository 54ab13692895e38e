-- Sends scheduled messages that are due, $1 at most, with new ids for what comes of them ($2, two for each).
select message_id, project_id, session_id, outcome, late_seconds from send_due($1, $2)
