-- Gives back unknown deliveries that were claimed and not looked for ($1 ids, $2 their tokens).
update delivery
   set lease_token = null, leased_until = null
 -- As turns are given back.
 where id = any ($1)
   and lease_token = any (array(select given.token from unnest($1::uuid[], $2::uuid[]) as given (id, token)
                                 where given.id = delivery.id))
