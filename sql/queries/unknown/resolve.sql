-- Settles an unknown delivery ($1, token $2) by the messages of the carrier that may be it ($3), or by their absence
-- when $4 seconds have passed since it was attempted.
select resolve_unknown_delivery($1, $2, $3, $4)
