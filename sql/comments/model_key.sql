comment on table model_key is 'The key of an agent at its model''s provider, encrypted.';
comment on column model_key.agent_id is 'Id of the agent that has the key.';
comment on column model_key.project_id is 'Id of the project of the agent.';
comment on column model_key.key_id is 'Id of the key of TEXTBACK_SECRET_KEY that encrypted it.';
comment on column model_key.encrypted is 'The key, encrypted with AES-256-GCM for this table, column and agent.';
comment on column model_key.set_at is 'Time at which the key was set.';
