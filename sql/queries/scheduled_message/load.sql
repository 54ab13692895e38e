-- The scheduled messages $1, which are locked and leave on the channel $2, and what decides about
-- them: domain/sending.rs. In their order.
select message.id, message.project_id, message.number_id, message.pool_id, message.contact, message.body, message.media_urls,
       message.on_active_session as "on_active_session: _", message.turn_id, message.created_at,
       extract(epoch from now() - message.due_at)::double precision as "late_seconds!",
       load_send_facts(message.project_id, message.number_id, message.contact, message.countries, message.heeds_quiet_hours, $2)
           as "facts!: _"
  from unnest($1::uuid[]) with ordinality as locked (id, ordinal)
 cross join lateral (select * from scheduled_message where id = locked.id limit 1) message
 order by locked.ordinal
