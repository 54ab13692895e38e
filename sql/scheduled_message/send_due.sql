-- Sends scheduled messages that are due, $1 at most, with new ids for what comes of them ($2, two for each); only those in $3 if that is not
-- null.
select message_id, project_id, session_id, outcome, late_seconds from send_due($1, $2, $3)
