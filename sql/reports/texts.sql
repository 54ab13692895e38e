-- Texts in and out
-- How many messages came from contacts and went to them.
-- chart: bars
-- time (time): Start of the bucket.
-- direction (text): inbound (from the contact) or outbound (to the contact).
-- texts (count): Messages.

select date_bin($3::interval, hour, timestamptz '2024-01-01 00:00:00+00') as time, direction, sum(messages)::bigint as texts
  from reporting.messages_by_hour_v1
 where hour >= date_trunc('hour', $1::timestamptz) and hour < $2::timestamptz
 group by 1, 2
 order by 1, 2;
