-- How far deliveries came
-- How many messages were stored to be sent, accepted by the carrier, and delivered.
-- chart: ranking
-- step (text): The step that they reached.
-- deliveries (count): Deliveries.

select step.step, step.deliveries
  from (select coalesce(sum(deliveries), 0)::bigint as stored from reporting.deliveries_by_hour_v1 where hour >= date_trunc('hour', $1::timestamptz) and hour < $2::timestamptz) delivery
 cross join
       (select coalesce(sum(observations) filter (where measure = 'accepted'), 0)::bigint as accepted,
               coalesce(sum(observations) filter (where measure = 'delivered'), 0)::bigint as delivered
          from reporting.latencies_by_hour_v1 where measure in ('accepted', 'delivered') and hour >= date_trunc('hour', $1::timestamptz) and hour < $2::timestamptz) latency
 cross join lateral (values (1, 'stored', delivery.stored), (2, 'accepted', latency.accepted), (3, 'delivered', latency.delivered))
       step (position, step, deliveries)
 order by step.position;
