-- Gives back turns that were claimed and not begun ($1 sessions, $2 their tokens).
update turn
   set lease_token = null, leased_until = null, attempts = attempts - 1,
       -- Nobody was asked yet, so that more texts may still join.
       seen_seq = case when attempts > 1 then seen_seq end
 -- Not by a join: one that was planned while no turn waited would read all that wait.
 where session_id = any ($1)
   and lease_token = any (array(select given.token from unnest($1::uuid[], $2::uuid[]) as given (session_id, token)
                                 where given.session_id = turn.session_id))
