-- Texts that did not arrive
-- The last 50 deliveries that failed, were never sent, or of which nobody knows whether the carrier has them.
-- chart: table
-- created_at (time): When the message was stored.
-- address (text): The number that sends.
-- contact_masked (text): The contact without its middle digits.
-- kind (text): Kind of the message.
-- status (text): failed, unknown or suppressed.
-- error_code (text): Error code of the carrier.
-- error_class (text): What the error means, by textback.
-- attempts (count): Calls of the carrier.

select created_at, address, contact_masked, kind, status, error_code::text as error_code, error_class::text as error_class, attempts
  from reporting.deliveries_v1
 where status in ('failed', 'unknown', 'suppressed') and created_at >= $1::timestamptz and created_at < $2::timestamptz
 order by created_at desc
 limit 50;
