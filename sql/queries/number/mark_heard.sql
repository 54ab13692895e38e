-- Notes that the texts of a number ($1) up to a time of the carrier's ($2) are known.
update number set heard_until = greatest(heard_until, $2) where id = $1
