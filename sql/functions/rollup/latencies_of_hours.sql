-- The rows of latency_rollup from one hour to another, as turns and deliveries are now. A turn
-- counts in the hour in which it was done, and a delivery in the hour in which it was created.
-- Seconds are added up as numeric, because a sum of floats depends on the order of the rows.
create or replace function latencies_of_hours(since timestamptz, until timestamptz) returns setof latency_rollup language sql stable
begin atomic
    select latency.project_id, latency.hour, session.endpoint_id, session.agent_id, session.channel::text, session.agent_version,
           latency.measure, latency_bound(latency.seconds), count(*), sum(latency.seconds::numeric)::double precision
      from (select message.project_id, hour_of(message.created_at) as hour, message.session_id, measured.measure, measured.seconds
              from message
              left join delivery on delivery.id = message.id
             cross join lateral (
                   values ('turn', extract(epoch from message.created_at - message.turn_created_at)::double precision),
                          ('agent', message.turn_milliseconds / 1000.0::double precision),
                          ('reply', extract(epoch from delivery.accepted_at - message.turn_created_at)::double precision)
                   ) measured (measure, seconds)
             where message.created_at >= since and message.created_at < until and message.turn_created_at is not null
            union all
            select silent.project_id, hour_of(silent.finished_at), silent.session_id, measured.measure, measured.seconds
              from turn_without_message silent
             cross join lateral (
                   values ('turn', extract(epoch from silent.finished_at - silent.created_at)::double precision),
                          ('agent', silent.milliseconds / 1000.0::double precision)
                   ) measured (measure, seconds)
             where silent.finished_at >= since and silent.finished_at < until
            union all
            select delivery.project_id, hour_of(delivery.created_at), delivery.session_id, measured.measure, measured.seconds
              from delivery
             cross join lateral (
                   values ('accepted', extract(epoch from delivery.accepted_at - delivery.created_at)::double precision),
                          ('delivered', case when delivery.status = 'delivered'
                                             then extract(epoch from delivery.updated_at - delivery.created_at)::double precision end)
                   ) measured (measure, seconds)
             where delivery.created_at >= since and delivery.created_at < until) latency
      join session on session.id = latency.session_id
     where latency.seconds is not null
     group by 1, 2, 3, 4, 5, 6, 7, 8;
end;
