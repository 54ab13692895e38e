-- Stores what was decided about deliveries ($1).
select store_deliveries($1, $2, $3, $4, $5, $6, $7)
