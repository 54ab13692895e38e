-- Conversations
-- How many texts and sessions there were, how many turns failed, and how long answers took.
-- chart: figures
-- texts_in (count): Messages of contacts.
-- texts_out (count): Messages to contacts.
-- sessions_opened (count): Sessions that were opened.
-- failed_share (share): Turns that were given up, of all.
-- reply_p50_seconds (seconds): Half of the answers were with the carrier in less time.
-- reply_p95_seconds (seconds): 95 of 100 answers were with the carrier in less time.

select (select coalesce(sum(messages) filter (where direction = 'inbound'), 0)::bigint
          from reporting.messages_by_hour_v1 where hour >= date_trunc('hour', $1::timestamptz) and hour < $2::timestamptz) as texts_in,
       (select coalesce(sum(messages) filter (where direction = 'outbound'), 0)::bigint
          from reporting.messages_by_hour_v1 where hour >= date_trunc('hour', $1::timestamptz) and hour < $2::timestamptz) as texts_out,
       (select coalesce(sum(opened), 0)::bigint
          from reporting.sessions_by_hour_v1 where hour >= date_trunc('hour', $1::timestamptz) and hour < $2::timestamptz) as sessions_opened,
       (select (coalesce(sum(turns) filter (where outcome = 'failed'), 0) / nullif(sum(turns), 0))::double precision
          from reporting.turns_by_hour_v1 where hour >= date_trunc('hour', $1::timestamptz) and hour < $2::timestamptz) as failed_share,
       reply.p50 as reply_p50_seconds, reply.p95 as reply_p95_seconds
  from (select min(below_seconds) filter (where so_far >= 0.50 * total) as p50,
               min(below_seconds) filter (where so_far >= 0.95 * total) as p95
          from (select below_seconds, sum(sum(observations)) over (order by below_seconds) as so_far,
                       sum(sum(observations)) over () as total
                  from reporting.latencies_by_hour_v1
                 where measure = 'reply' and hour >= date_trunc('hour', $1::timestamptz) and hour < $2::timestamptz
                 group by below_seconds) bucket) reply;
