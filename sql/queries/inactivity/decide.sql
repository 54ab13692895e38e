-- Decides about inactive sessions, at most $1. $2: one new message id for each. $3: if not null, only these sessions.
select session_id, project_id, outcome, late_seconds, planned, refused from decide_inactivity($1, $2, $3)
