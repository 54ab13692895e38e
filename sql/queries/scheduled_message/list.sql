-- The scheduled messages of a project ($1) that wait or were refused, newest first, before one
-- ($2), at most $3.
select message.id, case when message.pool_id is null then number.number end as number, message.pool_id, message.contact, message.body, message.media_urls, message.on_active_session as "on_active_session: _",
       message.send_at, message.due_at, message.waits_for as "waits_for: _", message.refusal_reason as "refusal_reason: _", message.turn_id, message.created_at
  from scheduled_message message
  join number on number.id = message.number_id
 where message.project_id = $1 and ($2::uuid is null or message.id < $2)
 order by message.id desc
 limit $3
