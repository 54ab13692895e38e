-- How current the rollups are.
select extract(epoch from now() - coalesce(settled_until, created_at))::float8 as "lag_seconds!",
       coalesce(extract(epoch from counted_from - oldest) / 3600, 0)::bigint as "backlog_hours!",
       (select count(*) from (select from rollup_mark limit 100000) mark) as "marked!"
  from rollup_progress
