-- Decides about inactive sessions, at most $1. $2: one new message id for each. $3: if not null, only these sessions.
select session_id as "session_id!", project_id as "project_id!", outcome as "outcome!: _", late_seconds as "late_seconds!",
       planned as "planned!", refused as "refused: _"
  from decide_inactivity($1, $2, $3)
