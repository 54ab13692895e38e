-- Segments
-- How many segments, the unit in which carriers charge, the carrier had.
-- chart: bars
-- time (time): Start of the bucket.
-- direction (text): inbound (from the contact) or outbound (to the contact).
-- segments (count): Segments.

select date_bin($3::interval, hour, timestamptz '2024-01-01 00:00:00+00') as time, direction, sum(segments)::bigint as segments
  from reporting.segments_by_hour_v1
 where is_at_the_carrier and hour >= date_trunc('hour', $1::timestamptz) and hour < $2::timestamptz
 group by 1, 2
 order by 1, 2;
