-- Work that is due
-- What is due now and what runs, for how long the oldest of it has been due, and what waits in quarantine.
-- chart: figures
-- due (count): Jobs that are due now, with those that run.
-- running (count): Jobs that a worker holds.
-- oldest_due_seconds (seconds): Time for which the oldest job that no worker holds has been due.
-- in_quarantine (count): Items in quarantine that were not replayed.

select coalesce(sum(due), 0)::bigint as due, coalesce(sum(running), 0)::bigint as running,
       coalesce(max(oldest_due_seconds), 0) as oldest_due_seconds,
       (select count(*) from reporting.quarantine_v1 where replayed_at is null) as in_quarantine
  from reporting.jobs_v1;
