-- What decides whether a refusal of a delivery ($1) is recorded as an opt-out of its contact:
-- domain/consent.rs.
select delivery.id as delivery_id, delivery.project_id, delivery.number_id, delivery.contact, session.channel as "channel: _",
       delivery.attempted_at, consent.kind as "consent_kind?: _", consent.recorded_at as "consent_at?"
  from unnest($1::uuid[]) as refused (id)
 -- By "limit 1" each is looked up by its key, whatever the statistics say.
 cross join lateral (select * from delivery where delivery.id = refused.id limit 1) delivery
 cross join lateral (select session.channel from session where session.id = delivery.session_id limit 1) session
  left join lateral (
       select consent.kind, consent.recorded_at from consent
        where consent.endpoint_id = delivery.number_id and consent.contact = delivery.contact order by consent.seq desc limit 1) consent on true
