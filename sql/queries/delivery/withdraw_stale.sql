-- Suppresses planned deliveries of the kinds $3 from a number ($1) to a contact ($2), because they
-- are no longer true.
select withdraw_stale_deliveries($1, $2, $3)
