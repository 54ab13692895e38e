-- Jobs by kind
-- How many jobs of each kind there are now, how many are due, and for how long the oldest has been due.
-- chart: table
-- kind (text): Kind of the job.
-- depth (count): Jobs, with those that are due later.
-- due (count): Jobs that are due now, with those that run.
-- running (count): Jobs that a worker holds.
-- oldest_due_seconds (seconds): Time for which the oldest job that no worker holds has been due.

select kind, sum(depth)::bigint as depth, sum(due)::bigint as due, sum(running)::bigint as running,
       max(oldest_due_seconds) as oldest_due_seconds
  from reporting.jobs_v1
 group by kind
 order by oldest_due_seconds desc, kind;
