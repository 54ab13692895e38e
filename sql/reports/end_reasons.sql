-- Why sessions ended
-- How many sessions ended, by why.
-- chart: ranking
-- end_reason (text): agent_ended, operator_ended, timed_out, opted_out, superseded or unreadable.
-- sessions (count): Sessions that ended.

select end_reason, sum(closed)::bigint as sessions
  from reporting.sessions_by_hour_v1
 where closed > 0 and hour >= date_trunc('hour', $1::timestamptz) and hour < $2::timestamptz
 group by 1
 order by 2 desc, 1;
