-- Locks how far the rollups have come, for a worker with the token $1, or for anybody if it is
-- null. The row comes with the marked hours that are final, those first that have waited longest,
-- at most $2. An hour has ended for good 5 minutes after its end: a transaction that writes to it
-- later than that marks it. Transactions that wrote before have an id below ended_by, which was
-- drawn after that. They are over when no transaction below it runs. A database that was restored
-- into another server may have an id of the future.
select now() as "now!", hour_of(now() - interval '5 minutes') as "ended_before!", settled_until, ended_until,
       coalesce(ended_by <= pg_snapshot_xmin(pg_current_snapshot()) or ended_by > pg_snapshot_xmax(pg_current_snapshot()), false) as "is_over!",
       counted_from, oldest, count_at <= now() as "may_count!", recount_at <= now() as "may_recount!",
       array(select hour from rollup_mark where hour < settled_until group by hour order by min(id) limit $2) as "marked!"
  from rollup_progress
 where lease_token = $1 or $1 is null
   for update
