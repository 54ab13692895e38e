-- Holds a number ($1, token $2) for $3 seconds more.
update number set leased_until = now() + make_interval(secs => $3) where id = $1 and lease_token = $2
