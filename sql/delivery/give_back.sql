-- Gives back deliveries that were claimed and not begun ($1 ids, $2 their tokens).
update delivery
   set status = 'planned', lease_token = null, leased_until = null, attempts = attempts - 1, updated_at = now()
  from unnest($1::uuid[], $2::uuid[]) as given (id, token)
 where delivery.id = given.id and delivery.lease_token = given.token
