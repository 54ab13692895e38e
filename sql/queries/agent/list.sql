-- The agents of a project ($1), newest first, before one ($2), at most $3, with their live
-- versions. Without the sources, which may have 256 kB each.
select agent.id, agent.name, agent.created_at,
       version.version, version.spec - 'source' as "spec!: _", version.greeting, version.first_message as "first_message: _",
       version.debounce_seconds, version.warn_after_seconds, version.grace_seconds, version.warning, version.closing,
       version.max_segments, version.max_messages_per_turn, version.smart_encoding, version.reactions as "reactions: _",
       version.markdown as "markdown: _", version.links as "links: _", version.allowed_link_hosts, version.allowed_phone_numbers,
       array(select active.environment::text from active_version active
              where active.agent_id = version.agent_id and active.version = version.version order by 1) as "active_in!: _",
       version.error_message, version.created_at as version_created_at, to_jsonb(agent_error) as "last_error: _"
  from agent
  join active_version live on live.agent_id = agent.id and live.environment = 'live'
  join agent_version version on version.agent_id = agent.id and version.version = live.version
  left join agent_error on agent_error.agent_id = agent.id
 where agent.project_id = $1 and ($2::uuid is null or agent.id < $2)
 order by agent.id desc
 limit $3
