-- Gives an agent ($1) its first signing secret ($3, encrypted with the key $2); one that has a
-- secret keeps it.
update agent set signing_key_id = $2, signing_secret = $3, signing_secret_changed_at = now()
 where id = $1 and signing_secret is null
