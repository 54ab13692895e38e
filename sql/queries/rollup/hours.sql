-- The hours that are counted or in the backlog: from the oldest to the one that runs.
select least(oldest, counted_from) as "oldest!", hour_of(now()) + interval '1 hour' as "until!"
  from rollup_progress
 where counted_from is not null
