-- What decides about the sessions $1, which are locked: domain/inactivity.rs. The settings are those of the current
-- version of a session's agent.
select session.id as session_id, session.project_id, now() as "now!", session.channel as "channel: _", session.status as "status: _",
       session.last_message_at, session.warn_after_seconds, version.grace_seconds,
       version.warning as warning_body, version.closing as closing_body,
       turn.id is not null or unsent.seq is not null as "owes_answer!",
       load_quiet_hours(session.project_id, session.contact) as "quiet_hours: _",
       warning.status as "warning_status?: _", warning.accepted_at as "warning_accepted_at?"
  from unnest($1::uuid[]) as locked (id)
 cross join lateral (select * from session where session.id = locked.id limit 1) session
  join agent on agent.id = session.agent_id
  join agent_version version on version.agent_id = agent.id and version.version = agent.current_version
  left join lateral (select turn.id from turn where turn.session_id = session.id limit 1) turn on true
  left join lateral (
       select delivery.seq from delivery
        where delivery.number_id = session.endpoint_id and delivery.contact = session.contact and delivery.due_at is not null
        limit 1) unsent on true
  left join lateral (
       select message.id from message
        where session.status = 'warned' and message.session_id = session.id and message.kind = 'warning'
        order by message.seq desc
        limit 1) warned on true
  left join lateral (
       select delivery.status, delivery.accepted_at from delivery where delivery.id = warned.id limit 1) warning on true
