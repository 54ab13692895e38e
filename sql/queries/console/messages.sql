-- The latest messages of a project ($1), newest first, at most $5: those of a session ($2), or of a
-- number ($3) and a contact ($4). A filter that is null lets all pass.
select message.id, message.session_id, message.direction as "direction: _", message.kind as "kind: _", message.body, message.segments,
       message_media(message.id) as "media: _",
       message_status(message.skip_reason, message.seq, session.handled_seq,
                      coalesce(delivery.status, case when message.direction = 'outbound' then 'sent' end)) as "status!: _",
       message.skip_reason as "skip_reason: _",
       coalesce(message.carrier_id, delivery.carrier_id) as carrier_id,
       delivery.error_code as "error_code?", delivery.error_class as "error_class?: _", delivery.error_detail as "error_detail?",
       coalesce(delivery.due_at = 'infinity', false) as "waits_for_registration!",
       case when session.paused_until > now() then session.paused_until end as paused_until,
       message.created_at
  from message
  join session on session.id = message.session_id
  left join number on number.id = session.endpoint_id
  left join delivery on delivery.id = message.id
 where session.project_id = $1
   and ($2::uuid is null or session.id = $2)
   and ($3::text is null or number.number = $3)
   and ($4::text is null or session.contact = $4)
 order by message.session_id desc, message.seq desc
 limit $5
