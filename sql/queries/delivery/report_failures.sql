-- Tells the sessions and the numbers of failed deliveries ($1 ids, $2 the carrier's error codes).
select expedite_inactivity(failed.id), record_registration_error(failed.id, failed.code)
  from unnest($1::uuid[], $2::integer[]) as failed (id, code)
