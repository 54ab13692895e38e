-- Sessions by how they were opened
-- How many sessions were opened, and how: by whom, and what was before.
-- chart: bars
-- time (time): Start of the bucket.
-- session_case (text): new, after_timeout, after_end, reply_to_outbound or outbound_without_reply.
-- sessions (count): Sessions that were opened.

select date_bin($3::interval, hour, timestamptz '2024-01-01 00:00:00+00') as time, session_case, sum(opened)::bigint as sessions
  from reporting.sessions_by_hour_v1
 where opened > 0 and hour >= date_trunc('hour', $1::timestamptz) and hour < $2::timestamptz
 group by 1, 2
 order by 1, 2;
