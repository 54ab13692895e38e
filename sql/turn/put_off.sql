-- Puts a turn off for $3 seconds after a failed attempt ($1 its session, $2 the token, $4 what went wrong).
update turn
   set due_at = now() + make_interval(secs => $3), lease_token = null, leased_until = null, last_error = $4
 where session_id = $1 and lease_token = $2
