-- The sessions of a project ($1), newest first: those on a number ($2), of a contact ($3), in a
-- status ($4), before a session ($5), at most $6. A filter that is null lets all pass.
-- Without the agents' states, which may have 256 kB each.
select session.id, number.number as "number?", session.pool_id, session.contact, session.channel as "channel: _", session.status as "status: _", null::jsonb as state, session.origin as "origin: _",
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
 where session.project_id = $1
   and ($2::text is null or number.number = $2)
   and ($3::text is null or session.contact = $3)
   and ($4::text is null or session.status = $4)
   and ($5::uuid is null or session.id < $5)
 order by session.id desc
 limit $6
