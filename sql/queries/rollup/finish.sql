-- Gives the rollups back, which are due again after $2 seconds. After $3 seconds the hour that runs
-- is counted again, and after $4 seconds marked hours may be. Null: as before.
update rollup_progress
   set lease_token = null, leased_until = null, due_at = now() + make_interval(secs => $2),
       count_at = coalesce(now() + make_interval(secs => $3), count_at),
       recount_at = coalesce(now() + make_interval(secs => $4), recount_at)
 where lease_token = $1
