-- The rows that were set aside and not yet deleted: for each kind of work how many, when the last
-- one was set aside, and why.
select work as "kind: _", count(*) as "rows!", extract(epoch from now() - max(last_at))::float8 as "seconds!",
       (array_agg(why order by last_at desc))[1] as "why!"
  from unreadable_row
 group by work
 order by work
