-- Changes the signing secret of an agent ($2) of a project ($1) to another ($4, encrypted with the
-- key $3). The one before signs on for a while, if the same key opens it. While one before signs,
-- nothing is changed: a service that has only that one would refuse all requests.
update agent
   set previous_signing_secret = case when signing_key_id = $3 then signing_secret end,
       signing_key_id = $3, signing_secret = $4, signing_secret_changed_at = now()
 where project_id = $1 and id = $2 and signing_secret is not null
   and (previous_signing_secret is null or signing_secret_changed_at <= now() - interval '24 hours')
