-- Tells the sessions of failed deliveries ($1).
select expedite_inactivity(failed.id) from unnest($1::uuid[]) as failed (id)
