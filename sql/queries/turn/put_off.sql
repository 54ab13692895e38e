-- Puts a turn off for $3 seconds after an attempt that came to nothing ($1 its session, $2 the
-- token, $4 what went wrong): one that is the agent's failure ($5), or one that is ours or was only
-- handed over, which does not count at all.
update turn
   set due_at = now() + make_interval(secs => $3), lease_token = null, leased_until = null, last_error = $4,
       failures = failures + case when $5 then 1 else 0 end, attempts = attempts - case when $5 then 0 else 1 end
 where session_id = $1 and lease_token = $2
