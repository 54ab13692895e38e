-- Agents with their live versions and their last errors.
create or replace view reporting.agents_v1 with (security_barrier) as
select agent.project_id, agent.id as agent_id, agent.name, version.spec ->> 'kind' as kind, live.version as current_version,
       agent.created_at, agent_error.at as last_error_at, agent_error.code as last_error_code,
       coalesce(agent_error.workers_lost, 0) as workers_lost
  from agent
  join active_version live on live.agent_id = agent.id and live.environment = 'live'
  join agent_version version on version.agent_id = agent.id and version.version = live.version
  left join agent_error on agent_error.agent_id = agent.id
 where agent.project_id in (select project_id from reporting.projects_v1);

comment on view reporting.agents_v1 is 'One row for each agent, with its live version and its last error.';
comment on column reporting.agents_v1.project_id is 'Id of the project of the agent.';
comment on column reporting.agents_v1.agent_id is 'Id of the agent. Joins with agent_id of sessions, turns and numbers.';
comment on column reporting.agents_v1.name is 'Name of the agent, unique in its project.';
comment on column reporting.agents_v1.kind is 'What the live version is: script, http or llm.';
comment on column reporting.agents_v1.current_version is 'Number of the version that new sessions of the live environment get.';
comment on column reporting.agents_v1.created_at is 'Time at which the agent was created.';
comment on column reporting.agents_v1.last_error_at is 'Time of the last error of the agent. It stays after the agent succeeded again. Null: there was none.';
comment on column reporting.agents_v1.last_error_code is 'Last error: unusable (the script can''t be run), failed, over_limit (time, steps or memory), over_budget (what models may use), answer_refused (it can''t be stored) or worker_lost.';
comment on column reporting.agents_v1.workers_lost is 'Count of turns that were given up because the processes that ran them ended.';
