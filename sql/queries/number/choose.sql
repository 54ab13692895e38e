-- The attached number of a project ($1) that texts a contact ($2) in a country ($3) when nobody
-- names one: the one that the contact had to do with last, else one of the same country, else the
-- project's default, else the oldest that is no short code, which reaches only the country of its
-- lease; one that may not send only if all are. One that is not ours yet, or not any more, can't
-- send at all.
select number.id, number.number, number.country, number.send_policy = 'blocked' as "unregistered!"
  from number
  join project on project.id = number.project_id
  join endpoint on endpoint.id = number.id
  left join lateral (
      select session.endpoint_id from session
        join number known on known.id = session.endpoint_id
       where session.project_id = $1 and session.contact = $2
         and known.check_at is not null and known.desired_state = 'attached' and known.carrier_id is not null and known.refusal_reason is null
       order by session.id desc limit 1
  ) last on true
 where number.project_id = $1 and endpoint.detached_at is null and number.desired_state = 'attached' and number.carrier_id is not null
   and number.refusal_reason is null
 order by number.send_policy = 'blocked', number.id = last.endpoint_id desc nulls last, number.country = $3 desc nulls last,
          number.number = project.default_number desc nulls last, number.number like '+%' desc, number.id
 limit 1
