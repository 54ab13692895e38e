-- One message of a project ($1), by its id ($2), with every step of its delivery.
select message.id, message.session_id, message.seq, message.direction as "direction: _", message.kind as "kind: _", message.body, message.reaction as "reaction: _", message.encoding as "encoding?: _", message.segments,
       message_media(message.id) as "media: _",
       message_status(message.skip_reason, message.seq, session.handled_seq,
                      coalesce(delivery.status, case when message.direction = 'outbound' then 'sent' end)) as "status!: _",
       coalesce(message.skip_reason, delivery.error_detail, delivery.error_class) as reason,
       message.skip_reason as "skip_reason: _",
       coalesce(message.carrier_id, delivery.carrier_id) as carrier_id,
       delivery.error_code as "error_code?",
       message.truncated,
       message.created_at,
       number.number as "number?",
       session.pool_id,
       session.contact,
       delivery.error_class as "error_class?: _",
       coalesce(delivery.history, '[]') as "history!: _"
  from message
  join session on session.id = message.session_id
  left join number on number.id = session.endpoint_id
  left join delivery on delivery.id = message.id
 where message.project_id = $1 and message.id = $2
