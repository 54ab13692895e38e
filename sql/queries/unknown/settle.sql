-- Settles the unknown delivery $1 as $2, with the carrier's id $3, the error class $4 and its
-- explanation $5.
select settle_unknown_delivery($1, $2, $3, $4, $5)
