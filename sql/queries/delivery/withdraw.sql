-- Suppresses those of the deliveries $1 that are planned, because their messages are no longer
-- true.
select withdraw_deliveries($1)
