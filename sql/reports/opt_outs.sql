-- Opt-outs and opt-ins
-- How many contacts opted out, and in again.
-- chart: bars
-- time (time): Start of the bucket.
-- kind (text): opted_out or opted_in.
-- records (count): Opt-outs or opt-ins that were recorded.

select date_bin($3::interval, recorded_at, timestamptz '2024-01-01 00:00:00+00') as time, kind::text as kind, count(*) as records
  from reporting.consents_v1
 where recorded_at >= $1::timestamptz and recorded_at < $2::timestamptz
 group by 1, 2
 order by 1, 2;
