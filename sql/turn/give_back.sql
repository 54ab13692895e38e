-- Gives back turns that were claimed and not begun ($1 sessions, $2 their tokens).
update turn
   set lease_token = null, leased_until = null, attempts = attempts - 1,
       -- Nobody was asked yet, so that more texts may still join.
       seen_seq = case when attempts > 1 then seen_seq end
  from unnest($1::uuid[], $2::uuid[]) as given (session_id, token)
 where turn.session_id = given.session_id and turn.lease_token = given.token
