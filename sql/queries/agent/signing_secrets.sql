-- What signs requests to an agent ($1): its secret, and for a day after a change the one before.
select project_id, signing_key_id as "key_id!", signing_secret as "newest!",
       case when signing_secret_changed_at > now() - interval '24 hours' then previous_signing_secret end as previous
  from agent
 where id = $1 and signing_secret is not null
