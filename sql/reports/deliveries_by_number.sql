-- Deliveries by number
-- How many deliveries each number made, and how many arrived, failed, or are not known about.
-- chart: table
-- address (text): The number that sends.
-- contact_calling_code (text): Calling code of the contact.
-- deliveries (count): Deliveries.
-- delivered_share (share): Delivered, of all.
-- failed_share (share): Failed, of all.
-- unknown (count): Nobody knows yet whether the carrier has them.

select address, contact_calling_code, sum(deliveries)::bigint as deliveries,
       coalesce(sum(deliveries) filter (where status = 'delivered') / sum(deliveries), 0)::double precision as delivered_share,
       coalesce(sum(deliveries) filter (where status = 'failed') / sum(deliveries), 0)::double precision as failed_share,
       coalesce(sum(deliveries) filter (where status = 'unknown'), 0)::bigint as unknown
  from reporting.deliveries_by_hour_v1
 where hour >= date_trunc('hour', $1::timestamptz) and hour < $2::timestamptz
 group by 1, 2
 order by deliveries desc, 1, 2
 limit 100;
