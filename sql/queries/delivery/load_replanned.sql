-- What decides whether the messages of the deliveries $1, which were planned again, are still true:
-- domain/inactivity.rs. Only warnings and closings may not be.
select delivery.id, message.kind as "kind: _", session.status as "session_status: _", later.id is not null as "is_followed!"
  from unnest($1::uuid[]) as planned (id)
 -- By "limit 1" each is looked up by its key, whatever the statistics say.
 cross join lateral (
       select delivery.id, delivery.session_id from delivery where delivery.id = planned.id and delivery.status = 'planned' limit 1) delivery
 cross join lateral (
       select message.kind from message where message.id = delivery.id limit 1) message
 cross join lateral (select * from session where session.id = delivery.session_id limit 1) session
  left join lateral (
       select later.id from session later
        where later.project_id = session.project_id and later.contact = session.contact
          and later.endpoint_id = session.endpoint_id and later.previous_session_id = session.id
        limit 1) later on true
 where message.kind in ('warning', 'closing')
