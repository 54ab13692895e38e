-- Backlog
-- The mean count of turns and deliveries that waited or ran, by the hour in which they ended or were stored (Little's law).
-- chart: lines
-- time (time): Start of the bucket.
-- turns (number): Turns, from the first message of a turn until it was settled.
-- deliveries (number): Deliveries, from the message until the carrier accepted it.

select date_bin($3::interval, hour, timestamptz '2024-01-01 00:00:00+00') as time,
       coalesce(sum(seconds) filter (where measure = 'turn') / extract(epoch from $3::interval)::double precision, 0) as turns,
       coalesce(sum(seconds) filter (where measure = 'accepted') / extract(epoch from $3::interval)::double precision, 0) as deliveries
  from reporting.latencies_by_hour_v1
 where measure in ('turn', 'accepted') and hour >= date_trunc('hour', $1::timestamptz) and hour < $2::timestamptz
 group by 1
 order by 1;
