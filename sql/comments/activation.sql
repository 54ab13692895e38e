comment on table activation is 'What was activated in the environments of agents, in order.';
comment on column activation.seq is 'Number of the activation, in the order in which they were made.';
comment on column activation.agent_id is 'Id of the agent.';
comment on column activation.environment is 'Where the version was activated: sandbox or live.';
comment on column activation.version is 'Number of the version.';
comment on column activation.activated_at is 'Time at which it was activated.';
comment on column activation.rolled_back_at is 'Time at which it was taken back, so that the version before it is active again; null: it was not.';
