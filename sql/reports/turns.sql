-- Turns by outcome
-- How many turns were done, and how they ended.
-- chart: bars
-- time (time): Start of the bucket.
-- outcome (text): answered, silent, failed or cancelled.
-- turns (count): Turns.

select date_bin($3::interval, hour, timestamptz '2024-01-01 00:00:00+00') as time, outcome, sum(turns)::bigint as turns
  from reporting.turns_by_hour_v1
 where hour >= date_trunc('hour', $1::timestamptz) and hour < $2::timestamptz
 group by 1, 2
 order by 1, 2;
