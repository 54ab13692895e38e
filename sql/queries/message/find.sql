-- One message of a project ($1), by its id ($2), with every step of its delivery.
select message.id, message.session_id, message.seq, message.direction, message.kind, message.body, message.encoding, message.segments,
       message_media(message.id) as media,
       message_status(message.skip_reason, message.seq, session.handled_seq, delivery.status) as status,
       coalesce(message.skip_reason, delivery.error_detail, delivery.error_class) as reason,
       coalesce(message.carrier_sid, delivery.carrier_sid) as carrier_sid,
       delivery.error_code,
       message.truncated,
       message.created_at,
       number.number,
       session.contact,
       delivery.error_class,
       coalesce(delivery.history, '[]') as history
  from message
  join session on session.id = message.session_id
  join number on number.id = session.number_id
  left join delivery on delivery.id = message.id
 where message.project_id = $1 and message.id = $2
