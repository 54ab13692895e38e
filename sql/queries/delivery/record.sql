-- Moves a delivery forward by a report of the carrier.
select outcome as "outcome!: _", message_id, session_id, turn_id from record_delivery_status($1, $2, $3, $4, $5, $6)
