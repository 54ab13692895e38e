-- What waits for somebody: unknown deliveries with the age of the oldest, what is in quarantine,
-- and rows that were set aside. At most $1 of each are counted. And how long ago the last hour
-- ended whose rollups are final.
select (select count(*) from (select from delivery where due_at is not null and status = 'unknown' limit $1) counted) as "unknown_deliveries!",
       coalesce((select extract(epoch from now() - min(attempted_at)) from delivery
                  where due_at is not null and status = 'unknown'), 0)::float8 as "oldest_unknown_seconds!",
       (select count(*) from (select from quarantine where replayed_at is null and kind = 'inbound' limit $1) counted) as "inbound!",
       (select count(*) from (select from quarantine where replayed_at is null and kind = 'status' limit $1) counted) as "status!",
       (select count(*) from (select from quarantine where replayed_at is null and kind = 'session_state' limit $1) counted)
           as "session_state!",
       (select count(*) from (select from unreadable_row limit $1) counted) as "set_aside!",
       (select extract(epoch from now() - coalesce(settled_until, created_at)) from rollup_progress)::float8 as rollup_lag_seconds
