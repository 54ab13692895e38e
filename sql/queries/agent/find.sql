-- One agent of a project ($1), by its id ($2), with its current version.
select agent.id, agent.name, agent.created_at,
       version.version, version.spec as "spec: _", version.greeting, version.first_message as "first_message: _",
       version.debounce_seconds, version.warn_after_seconds, version.grace_seconds, version.warning, version.closing,
       version.max_segments, version.max_messages_per_turn, version.smart_encoding, version.reactions as "reactions: _",
       version.markdown as "markdown: _", version.links as "links: _", version.allowed_link_hosts, version.allowed_phone_numbers,
       version.error_message, version.created_at as version_created_at, to_jsonb(agent_error) as "last_error: _"
  from agent
  join agent_version version on version.agent_id = agent.id and version.version = agent.current_version
  left join agent_error on agent_error.agent_id = agent.id
 where agent.project_id = $1 and agent.id = $2
