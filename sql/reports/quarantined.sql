-- What came into quarantine
-- How many webhooks and states that fit no session came in.
-- chart: bars
-- time (time): Start of the bucket.
-- kind (text): inbound (a message), status (a report about a delivery) or session_state.
-- items (count): Items that came.

select date_bin($3::interval, received_at, timestamptz '2024-01-01 00:00:00+00') as time, kind::text as kind, count(*) as items
  from reporting.quarantine_v1
 where received_at >= $1::timestamptz and received_at < $2::timestamptz
 group by 1, 2
 order by 1, 2;
