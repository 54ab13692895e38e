-- Gives back numbers that were claimed and not looked after ($1 ids, $2 their tokens).
update number set lease_token = null, leased_until = null
  from unnest($1::uuid[], $2::uuid[]) as given (id, token)
 where number.id = given.id and number.lease_token = given.token
