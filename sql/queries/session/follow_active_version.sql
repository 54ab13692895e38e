-- Lets the sessions of an agent ($1) that are not closed run the version that is active in their
-- environment.
update session
   set agent_version = active.version
  from active_version active
 where session.agent_id = $1 and session.status <> 'closed' and active.agent_id = session.agent_id
   and active.environment = session.environment and session.agent_version <> active.version
