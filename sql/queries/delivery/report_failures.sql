-- Makes the inactivity jobs due of sessions whose warning is among the failed deliveries $1: no
-- warning, no grace period.
select expedite_inactivity(failed.id) from unnest($1::uuid[]) as failed (id)
