-- Errors of deliveries
-- Why deliveries failed or were not sent, by the code of the carrier and what it means.
-- chart: table
-- error_code (text): Error code of the carrier. Empty: it gave none.
-- error_class (text): What the error means, by textback.
-- status (text): What became of the delivery.
-- deliveries (count): Deliveries.
-- share (share): Of the deliveries of this list.

select error_code::text as error_code, error_class::text as error_class, status, sum(deliveries)::bigint as deliveries,
       (sum(deliveries) / sum(sum(deliveries)) over ())::double precision as share
  from reporting.deliveries_by_hour_v1
 where (error_code is not null or error_class is not null or status in ('failed', 'suppressed')) and hour >= date_trunc('hour', $1::timestamptz) and hour < $2::timestamptz
 group by 1, 2, 3
 order by 4 desc, 1, 2, 3
 limit 50;
