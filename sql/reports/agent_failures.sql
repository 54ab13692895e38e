-- Failed turns
-- How many turns were given up, by why.
-- chart: bars
-- time (time): Start of the bucket.
-- error_code (text): Why: unusable, failed, over_limit, over_budget, answer_refused, worker_lost, or other (the agent is not to blame).
-- turns (count): Turns that were given up.

select date_bin($3::interval, hour, timestamptz '2024-01-01 00:00:00+00') as time, coalesce(error_code, 'other') as error_code,
       sum(turns)::bigint as turns
  from reporting.turns_by_hour_v1
 where outcome = 'failed' and hour >= date_trunc('hour', $1::timestamptz) and hour < $2::timestamptz
 group by 1, 2
 order by 1, 2;
