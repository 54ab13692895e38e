-- The sessions of a project ($1), newest first: those on a number ($2), of a contact ($3), in a
-- status ($4), before a session ($5), at most $6. A filter that is null lets all pass.
select session.id, number.number, session.contact, session.channel, session.status, session.state, session.origin,
       session.engaged, session.agent_id, session.agent_version, session.opened_at, session.last_message_at,
       session.warned_at, session.closed_at, session.close_reason, session.previous_session_id
  from session
  join number on number.id = session.number_id
 where session.project_id = $1
   and ($2::text is null or number.number = $2)
   and ($3::text is null or session.contact = $3)
   and ($4::text is null or session.status = $4)
   and ($5::uuid is null or session.id < $5)
 order by session.id desc
 limit $6
