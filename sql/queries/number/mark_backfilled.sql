-- Records that the inbound messages of a number ($1) up to a time of the carrier's clock ($2) are
-- known.
update number set backfilled_until = greatest(backfilled_until, $2) where id = $1
