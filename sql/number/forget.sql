-- Takes back that a number ($1, token $2) is wanted: the carrier will never have it for us.
update number set detached_at = now(), carrier_sid = null, lease_token = null, leased_until = null where id = $1 and lease_token = $2
