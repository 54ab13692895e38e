-- Postpones the inactivity jobs of the sessions $1, which are locked, to the times $2.
update inactivity set due_at = postponed.due_at
  from unnest($1::uuid[], $2::timestamptz[]) as postponed (session_id, due_at)
 -- Each is looked up, and then written by its ctid: a join may read the whole index.
 cross join lateral (
       select job.ctid as row_ctid from inactivity job where job.session_id = postponed.session_id limit 1) job
 where inactivity.ctid = job.row_ctid
