-- Lets the sessions of an agent that are not closed run its current version.
update session
   set agent_version = agent.current_version
  from agent
 where agent.id = $1 and session.agent_id = agent.id and session.status <> 'closed' and session.agent_version <> agent.current_version
