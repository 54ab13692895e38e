-- What was set aside because it could not be claimed, and is still noted: for each kind of work how many rows, when the last was, and why.
select work, count(*) as rows, extract(epoch from now() - max(last_at))::float8 as seconds,
       (array_agg(why order by last_at desc))[1] as why
  from unreadable_row
 group by work
 order by work
