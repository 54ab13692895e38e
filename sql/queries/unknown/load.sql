-- Locks the unknown delivery $1 with the token $2. $3: the messages in the carrier's list that may
-- be it.
select "now" as "now!", attempted_at as "attempted_at!", found_carrier_id, absences as "absences!"
  from load_unknown_delivery($1, $2, $3)
