-- One session of a project ($1), by its id ($2).
select session.id, number.number as "number?", session.pool_id, session.contact, session.channel as "channel: _", session.status as "status: _", session.state, session.origin as "origin: _",
       session.engaged, session.agent_id, session.agent_version, session.environment as "environment: _", session.opened_at, session.last_message_at,
       session.warned_at, session.closed_at, session.close_reason as "close_reason: _", session.previous_session_id,
       case when session.status = 'open' and session.engaged
            then session.last_message_at + make_interval(secs => session.warn_after_seconds) end as warning_due_at,
       case when session.status = 'open' and session.engaged
            then session.last_message_at + make_interval(secs => session.warn_after_seconds + version.grace_seconds)
            when session.status = 'warned'
            then coalesce(warning.accepted_at, now()) + make_interval(secs => version.grace_seconds) end as end_due_at,
       case when session.paused_until > now() then session.paused_until end as paused_until
  from session
  left join number on number.id = session.endpoint_id
  join active_version active on active.agent_id = session.agent_id and active.environment = session.environment
  join agent_version version on version.agent_id = active.agent_id and version.version = active.version
  left join lateral (
      select delivery.accepted_at
        from message join delivery on delivery.id = message.id
       where session.status = 'warned' and message.session_id = session.id and message.kind = 'warning'
       order by message.seq desc
       limit 1
  ) warning on true
 where session.project_id = $1 and session.id = $2
