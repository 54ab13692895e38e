comment on table active_version is 'Which version of an agent the new sessions of an environment get.';
comment on column active_version.agent_id is 'Id of the agent.';
comment on column active_version.environment is 'Where it is active: sandbox or live.';
comment on column active_version.version is 'Number of the version.';
