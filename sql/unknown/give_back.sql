-- Gives back unknown deliveries that were claimed and not looked for ($1 ids, $2 their tokens).
update delivery
   set lease_token = null, leased_until = null
  from unnest($1::uuid[], $2::uuid[]) as given (id, token)
 where delivery.id = given.id and delivery.lease_token = given.token
