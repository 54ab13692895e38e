-- Lateness of warnings and ends
-- How late inactive sessions were warned and ended. Quiet hours, and an answer that was still due, count as lateness.
-- chart: lines
-- time (time): Start of the bucket.
-- warning_p95_seconds (seconds): 95 of 100 warnings were less late.
-- warning_most_seconds (seconds): The latest warning.
-- end_p95_seconds (seconds): 95 of 100 ends were less late.
-- end_most_seconds (seconds): The latest end.

select date_bin($3::interval, warned_at, timestamptz '2024-01-01 00:00:00+00') as time,
       percentile_cont(0.95) within group (order by warning_late_seconds) as warning_p95_seconds,
       max(warning_late_seconds) as warning_most_seconds,
       percentile_cont(0.95) within group (order by end_late_seconds) as end_p95_seconds,
       max(end_late_seconds) as end_most_seconds
  from reporting.inactivity_v1
 where warned_at >= $1::timestamptz and warned_at < $2::timestamptz
 group by 1
 order by 1;
