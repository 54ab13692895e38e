-- One version ($3) of an agent ($2) of a project ($1).
select agent.id, agent.name, agent.created_at,
       version.version, version.spec as "spec: _", version.greeting, version.first_message as "first_message: _",
       version.debounce_seconds, version.warn_after_seconds, version.grace_seconds, version.warning, version.closing,
       version.max_segments, version.max_messages_per_turn, version.smart_encoding, version.reactions as "reactions: _",
       version.markdown as "markdown: _", version.links as "links: _", version.allowed_link_hosts, version.allowed_phone_numbers,
       array(select active.environment::text from active_version active
              where active.agent_id = version.agent_id and active.version = version.version order by 1) as "active_in!: _",
       version.error_message, version.created_at as version_created_at, null::jsonb as "last_error: _"
  from agent_version version
  join agent on agent.id = version.agent_id
 where agent.project_id = $1 and agent.id = $2 and version.version = $3
