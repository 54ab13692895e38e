-- Locks sessions whose inactivity job is due, at most $1. $2: if not null, only these.
select lock_due_inactivity($1, $2) as "sessions!"
