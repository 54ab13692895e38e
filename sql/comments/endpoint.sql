comment on table endpoint is 'An address of a project on a channel, answered by an agent.';
comment on column endpoint.id is 'Id of the endpoint, a UUIDv7.';
comment on column endpoint.project_id is 'Id of the project of the endpoint.';
comment on column endpoint.kind is 'What it is: number or widget.';
comment on column endpoint.agent_id is 'Id of the agent that answers new sessions.';
comment on column endpoint.environment is 'Environment of the agent whose active version new sessions get: sandbox or live.';
comment on column endpoint.created_at is 'Time at which it was first attached.';
comment on column endpoint.detached_at is 'Time at which it was detached; null: it is attached. The row stays, and so do its opt-outs.';
