-- Moves a delivery forward by a report of the carrier.
select outcome as "outcome!: _", moved from record_delivery_status($1, $2, $3, $4, $5, $6)
