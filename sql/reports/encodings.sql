-- Segments by encoding
-- How many segments the carrier had by encoding. A segment has 160 characters in gsm7, and 70 in ucs2.
-- chart: ranking
-- encoding (text): gsm7 or ucs2.
-- segments (count): Segments.

select encoding, sum(segments)::bigint as segments
  from reporting.segments_by_hour_v1
 where is_at_the_carrier and hour >= date_trunc('hour', $1::timestamptz) and hour < $2::timestamptz
 group by 1
 order by 2 desc, 1;
