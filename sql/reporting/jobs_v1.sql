-- Jobs that wait or run, counted by kind.
create or replace view reporting.jobs_v1 with (security_barrier) as
select job.project_id, job.kind, count(*) as depth, count(*) filter (where job.due_at <= now()) as due,
       count(*) filter (where job.leased_until >= now()) as running,
       coalesce(extract(epoch from now() - min(job.due_at) filter (where job.due_at <= now() and (job.leased_until is null or job.leased_until < now()))),
                0)::double precision as oldest_due_seconds,
       min(job.due_at) filter (where job.due_at > now() and job.due_at < 'infinity') as next_due_at
  from (select turn.project_id, 'turn' as kind, turn.due_at, turn.leased_until from turn
        union all
        select delivery.project_id, case when delivery.status = 'unknown' then 'unknown' else 'delivery' end, delivery.due_at,
               delivery.leased_until
          from delivery where delivery.due_at is not null
        union all
        select inactivity.project_id, 'inactivity', inactivity.due_at, null from inactivity
        union all
        select scheduled_message.project_id, 'scheduled_message', scheduled_message.due_at, null
          from scheduled_message where scheduled_message.due_at is not null
        union all
        select number.project_id, 'number', number.check_at, number.leased_until from number where number.check_at is not null
        union all
        select number.project_id, 'backfill', number.backfill_at, null from number where number.backfill_at is not null) job
 where job.project_id in (select project_id from reporting.projects_v1)
 group by job.project_id, job.kind;

comment on view reporting.jobs_v1 is 'One row for each project and kind of job that exists now. It reads all jobs of sessions that are not closed.';
comment on column reporting.jobs_v1.project_id is 'Id of the project of the jobs.';
comment on column reporting.jobs_v1.kind is 'turn, delivery, unknown (a delivery that is looked for at the carrier), inactivity, scheduled_message, number or backfill.';
comment on column reporting.jobs_v1.depth is 'Count of jobs, with those that are due later.';
comment on column reporting.jobs_v1.due is 'Count of jobs that are due now, with those that run.';
comment on column reporting.jobs_v1.running is 'Count of jobs that a worker holds.';
comment on column reporting.jobs_v1.oldest_due_seconds is 'Seconds for which the oldest job that is due and that no worker holds has been due. 0: there is none.';
comment on column reporting.jobs_v1.next_due_at is 'Time at which the next job comes due. Null: none, or only messages that wait for the registration of their number.';
