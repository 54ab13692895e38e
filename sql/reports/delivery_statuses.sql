-- Deliveries by status
-- How many deliveries there were, by their last known status.
-- chart: bars
-- time (time): Start of the bucket.
-- status (text): planned, sending, accepted, sent, delivered, failed, unknown or suppressed.
-- deliveries (count): Deliveries.

select date_bin($3::interval, hour, timestamptz '2024-01-01 00:00:00+00') as time, status, sum(deliveries)::bigint as deliveries
  from reporting.deliveries_by_hour_v1
 where hour >= date_trunc('hour', $1::timestamptz) and hour < $2::timestamptz
 group by 1, 2
 order by 1, 2;
