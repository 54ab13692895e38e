-- From text to reply
-- How long it took from a message of a contact until the carrier had the answer, by the bounds of a histogram.
-- chart: lines
-- time (time): Start of the bucket.
-- p50_seconds (seconds): Half of the answers took less. Empty: over a day.
-- p95_seconds (seconds): 95 of 100 answers took less. Empty: over a day.
-- p99_seconds (seconds): 99 of 100 answers took less. Empty: over a day.

select time, min(below_seconds) filter (where so_far >= 0.50 * total) as p50_seconds,
       min(below_seconds) filter (where so_far >= 0.95 * total) as p95_seconds,
       min(below_seconds) filter (where so_far >= 0.99 * total) as p99_seconds
  from (select time, below_seconds, sum(observations) over (partition by time order by below_seconds) as so_far,
               sum(observations) over (partition by time) as total
          from (select date_bin($3::interval, hour, timestamptz '2024-01-01 00:00:00+00') as time,
                       below_seconds, sum(observations) as observations
                  from reporting.latencies_by_hour_v1
                 where measure = 'reply' and hour >= date_trunc('hour', $1::timestamptz) and hour < $2::timestamptz
                 group by 1, 2) counted) bucket
 group by time
 order by time;
