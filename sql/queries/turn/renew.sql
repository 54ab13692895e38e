-- Prolongs the lease of a turn ($1 its session, $2 the token) to $3 seconds from now.
update turn set leased_until = now() + make_interval(secs => $3) where session_id = $1 and lease_token = $2
