-- Deliveries
-- How many deliveries there were, and how many arrived, failed, or are not known about.
-- chart: figures
-- deliveries (count): Deliveries of messages.
-- delivered_share (share): Delivered, of all.
-- failed_share (share): Failed, of all.
-- unknown (count): Nobody knows yet whether the carrier has them.
-- segments_out (count): Segments to contacts that the carrier had.
-- segments_in (count): Segments of contacts.

select delivery.deliveries, delivery.delivered_share, delivery.failed_share, delivery.unknown, segment.segments_out, segment.segments_in
  from (select coalesce(sum(deliveries), 0)::bigint as deliveries,
               (coalesce(sum(deliveries) filter (where status = 'delivered'), 0) / nullif(sum(deliveries), 0))::double precision as delivered_share,
               (coalesce(sum(deliveries) filter (where status = 'failed'), 0) / nullif(sum(deliveries), 0))::double precision as failed_share,
               coalesce(sum(deliveries) filter (where status = 'unknown'), 0)::bigint as unknown
          from reporting.deliveries_by_hour_v1
         where hour >= date_trunc('hour', $1::timestamptz) and hour < $2::timestamptz) delivery
 cross join
       (select coalesce(sum(segments) filter (where direction = 'outbound'), 0)::bigint as segments_out,
               coalesce(sum(segments) filter (where direction = 'inbound'), 0)::bigint as segments_in
          from reporting.segments_by_hour_v1
         where is_at_the_carrier and hour >= date_trunc('hour', $1::timestamptz) and hour < $2::timestamptz) segment;
