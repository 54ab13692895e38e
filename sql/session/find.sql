-- One session of a project ($1), by its id ($2).
select session.id, number.number, session.contact, session.channel, session.status, session.state, session.origin,
       session.engaged, session.agent_id, session.agent_version, session.opened_at, session.last_message_at,
       session.warned_at, session.closed_at, session.close_reason, session.previous_session_id
  from session
  join number on number.id = session.number_id
 where session.project_id = $1 and session.id = $2
