-- Postpones the inactivity jobs of the sessions $1 to the times $2.
update inactivity set due_at = postponed.due_at
  from unnest($1::uuid[], $2::timestamptz[]) as postponed (session_id, due_at)
 where inactivity.session_id = postponed.session_id
