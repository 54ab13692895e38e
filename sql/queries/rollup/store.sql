-- Stores how far the rollups have come. $6: whether the hours before ended_until have just ended:
-- they are final once all transactions are over that are older than this one. $7: for how many
-- seconds the worker holds on.
update rollup_progress
   set settled_until = $1, ended_until = $2, counted_from = $3, oldest = $4, counted_at = coalesce($5, counted_at),
       ended_by = case when $6 then pg_current_xact_id() else ended_by end,
       leased_until = case when lease_token is not null then now() + make_interval(secs => $7) end
