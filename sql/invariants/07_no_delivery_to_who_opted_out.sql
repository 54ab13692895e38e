-- No delivery is claimed for a contact that had opted out before the claim and not opted in again,
-- but for the answers to its own keywords: the confirmation of an opt-out, and HELP. A contact that
-- has opted out has no engaged session. Ingest and settlement rely on this and do not check consent
-- again.
create or replace view invariant_07_no_delivery_to_who_opted_out as
select delivery.id as delivery_id, delivery.session_id, delivery.attempted_at, before.recorded_at as opted_out_at
  from delivery
  join lateral (
      select kind, recorded_at from consent
       where consent.endpoint_id = delivery.number_id and consent.contact = delivery.contact
         and consent.recorded_at < delivery.attempted_at
       order by seq desc limit 1
  ) before on before.kind = 'opted_out'
 where not (delivery.despite_opt_out and (select kind from message where message.id = delivery.id) in ('opt_out', 'help'))
union all
select null, session.id, null, newest.recorded_at
  from (select distinct on (endpoint_id, contact) endpoint_id, contact, kind, recorded_at from consent
         order by endpoint_id, contact, seq desc) newest
  join session on session.endpoint_id = newest.endpoint_id and session.contact = newest.contact
              and session.status <> 'closed' and session.engaged
 where newest.kind = 'opted_out'
