-- Decides about silent sessions, $1 at most, with new ids for what is said ($2, one for each); only those in $3 if that is not null.
select session_id, project_id, outcome, late_seconds, planned, refused from decide_silences($1, $2, $3)
