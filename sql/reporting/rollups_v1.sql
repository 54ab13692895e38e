-- How current the views by hour are.
create or replace view reporting.rollups_v1 with (security_barrier) as
select project.project_id, counted_at, settled_until, counted_from,
       extract(epoch from now() - coalesce(settled_until, rollup_progress.created_at))::double precision as lag_seconds,
       (select count(*) from rollup_mark) as marked,
       coalesce(extract(epoch from counted_from - oldest) / 3600, 0)::bigint as backlog_hours
  from rollup_progress
 cross join reporting.projects_v1 project;

comment on view reporting.rollups_v1 is 'How current the views by hour are: the same for each project that the current role may see.';
comment on column reporting.rollups_v1.project_id is 'Id of the project.';
comment on column reporting.rollups_v1.counted_at is 'Time at which the hour that runs was counted last. It is counted about once a minute, and more rarely when that takes long. Null: never.';
comment on column reporting.rollups_v1.settled_until is 'Time before which all hours are final, but for late changes, after which they are counted again. Null: no hour is yet.';
comment on column reporting.rollups_v1.counted_from is 'Time before which hours are not counted yet. Null: none is.';
comment on column reporting.rollups_v1.lag_seconds is 'Seconds since settled_until, or since the installation of the rollups if it is null. It is between 300 and about 4,000 while the rollups are counted.';
comment on column reporting.rollups_v1.marked is 'Count of late changes that are not counted yet, of all projects.';
comment on column reporting.rollups_v1.backlog_hours is 'Count of hours before counted_from that will be counted.';
