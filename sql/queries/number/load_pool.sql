-- The attached numbers of a project ($1) in a pool ($2), with what a contact ($3) has to do with
-- each on the channel $4: what decides who sends (domain/pool.rs). opted_out_of_pool: the newest
-- thing that the contact said to any number that is or was in the pool is an opt-out.
select number.id, number.number, number.country, number.send_policy as "send_policy: _",
       number.webhook <> 'drifted' and number.inbound_blocked_reason is null as "receives!",
       active.id as "session_id?", coalesce(number.id = last.endpoint_id, false) as "is_last!",
       has_opted_out(number.id, $3) as "opted_out!",
       coalesce((select consent.kind = 'opted_out' from number of_pool
                  cross join lateral (
                        select seq, kind from consent
                         where consent.endpoint_id = of_pool.id and consent.contact = $3 order by seq desc limit 1) consent
                  where of_pool.project_id = $1 and of_pool.pool_id = $2
                  order by consent.seq desc limit 1), false) as "opted_out_of_pool!"
  from number
  left join lateral (
       select session.id from session
        where session.endpoint_id = number.id and session.contact = $3 and session.channel = $4 and session.status <> 'closed' limit 1
  ) active on true
  left join lateral (
       select session.endpoint_id from session
        where session.project_id = $1 and session.contact = $3 and session.channel = $4
          and session.endpoint_id = any (array(
              select id from number member
               where member.project_id = $1 and member.pool_id = $2 and member.check_at is not null and member.desired_state = 'attached'
                 and member.carrier_id is not null and member.refusal_reason is null))
        order by session.id desc limit 1
  ) last on true
 where number.project_id = $1 and number.pool_id = $2 and number.check_at is not null and number.desired_state = 'attached'
   and number.carrier_id is not null and number.refusal_reason is null
