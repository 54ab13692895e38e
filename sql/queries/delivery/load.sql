-- Locks deliveries that are to be settled ($1 ids, $2 their tokens, $3 those whose contacts are locked too), and loads what
-- decides about them.
select ordinal as "ordinal!", other_waits as "other_waits!" from load_deliveries($1, $2, $3)
