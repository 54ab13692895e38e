-- Decides about silent sessions, $1 at most, with new ids for what is said ($2, one for each).
select session_id, project_id, outcome, late_seconds, planned from decide_silences($1, $2)
