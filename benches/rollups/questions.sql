-- The questions of dashboards over the last thirty days, from the views by hour. Each takes the
-- time that psql prints after its name.
\timing on
\echo texts in and out by hour, kind and skip reason
select hour, direction, kind, skip_reason, sum(messages) from reporting.messages_by_hour_v1 where hour >= now() - interval '30 days' group by 1, 2, 3, 4 \g /dev/null
\echo the four cases by day
select date_trunc('day', hour), session_case, sum(messages) from reporting.messages_by_hour_v1 where hour >= now() - interval '30 days' and direction = 'inbound' group by 1, 2 \g /dev/null
\echo sessions opened by case and closed by reason, by day
select date_trunc('day', hour), origin, session_case, end_reason, sum(opened), sum(closed) from reporting.sessions_by_hour_v1 where hour >= now() - interval '30 days' group by 1, 2, 3, 4 \g /dev/null
\echo warnings by day
select date_trunc('day', hour), sum(warned), sum(rescued), sum(ended) from reporting.inactivity_by_hour_v1 where hour >= now() - interval '30 days' group by 1 \g /dev/null
\echo turns by hour, outcome, agent and version
select hour, agent_name, agent_version, outcome, sum(turns), sum(attempts) from reporting.turns_by_hour_v1 where hour >= now() - interval '30 days' group by 1, 2, 3, 4 \g /dev/null
\echo text to reply by hour: p50, p95, p99
with bucket as (
    select hour, below_seconds, sum(observations) as observations from reporting.latencies_by_hour_v1
     where hour >= now() - interval '30 days' and measure = 'reply' group by 1, 2
), added as (
    select hour, below_seconds, sum(observations) over (partition by hour order by below_seconds) as so_far, sum(observations) over (partition by hour) as total from bucket
)
select hour, min(below_seconds) filter (where so_far >= 0.50 * total), min(below_seconds) filter (where so_far >= 0.95 * total),
       min(below_seconds) filter (where so_far >= 0.99 * total)
  from added group by 1 \g /dev/null
\echo deliveries by hour, status and error
select hour, status, error_code, error_class, sum(deliveries) from reporting.deliveries_by_hour_v1 where hour >= now() - interval '30 days' group by 1, 2, 3, 4 \g /dev/null
\echo segments by number and calling code
select address, number_country, contact_calling_code, direction, sum(segments) filter (where is_at_the_carrier) from reporting.segments_by_hour_v1 where hour >= now() - interval '30 days' group by 1, 2, 3, 4 \g /dev/null
\echo how current they are
select * from reporting.rollups_v1 \g /dev/null
\echo for comparison, from the raw view: texts by hour, kind and skip reason
select date_trunc('hour', created_at), direction, kind, skip_reason, count(*) from reporting.messages_v1 where created_at >= now() - interval '30 days' group by 1, 2, 3, 4 \g /dev/null
\echo drill-down, from the raw view: one hour of messages
select * from reporting.messages_v1 where created_at >= now() - interval '40 hours' and created_at < now() - interval '39 hours' \g /dev/null
