-- Stores what became of deliveries ($1 ids, $2 their tokens, $3 those whose contacts are locked
-- first).
select ordinal as "ordinal!", other_waits as "other_waits!" from settle_deliveries($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
