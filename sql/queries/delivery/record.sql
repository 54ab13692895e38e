-- Moves a delivery forward by a report of the carrier.
select record_delivery_status($1, $2, $3, $4, $5, $6, $7)
