-- The number that a delivery ($1) leaves from.
select number_id from delivery where id = $1
