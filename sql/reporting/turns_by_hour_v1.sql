-- Turns that are done, counted by hour.
create or replace view reporting.turns_by_hour_v1 with (security_barrier) as
select rollup.project_id, rollup.hour, rollup.channel, coalesce(number.number, rollup.endpoint_id::text) as address,
       rollup.agent_id, agent.name as agent_name,
       rollup.agent_version,
       version.spec ->> 'kind' as agent_kind,
       rollup.outcome,
       nullif(rollup.error_code, '') as error_code,
       rollup.turns,
       rollup.attempts,
       rollup.failures,
       rollup.messages
  from turn_rollup rollup
  left join number on number.id = rollup.endpoint_id
  left join agent on agent.id = rollup.agent_id
  left join agent_version version on version.agent_id = rollup.agent_id and version.version = rollup.agent_version
 where rollup.project_id in (select project_id from reporting.projects_v1);

comment on view reporting.turns_by_hour_v1 is 'Counts of turns that are done, by the hour in which they were settled. Their durations are in latencies_by_hour_v1. Counts of several rows can be added. Filter on hour to read few rows.';
comment on column reporting.turns_by_hour_v1.project_id is 'Id of the project. Joins with projects_v1.';
comment on column reporting.turns_by_hour_v1.hour is 'Start of the hour, in UTC. Compare this column itself with whole hours.';
comment on column reporting.turns_by_hour_v1.channel is 'Channel of the session, by the word that the API has for it.';
comment on column reporting.turns_by_hour_v1.address is 'The number of the project in E.164 or as a short code, or the id of another endpoint.';
comment on column reporting.turns_by_hour_v1.agent_id is 'Id of the agent of the session.';
comment on column reporting.turns_by_hour_v1.agent_name is 'Name that the agent has now.';
comment on column reporting.turns_by_hour_v1.agent_version is 'Number of the version of the agent.';
comment on column reporting.turns_by_hour_v1.agent_kind is 'What the version is: script, http or llm.';
comment on column reporting.turns_by_hour_v1.outcome is 'answered, silent, failed or cancelled: see turns_v1.outcome.';
comment on column reporting.turns_by_hour_v1.error_code is 'Why they failed: see turns_v1.error_code. Null: they did not fail, or the agent is not to blame.';
comment on column reporting.turns_by_hour_v1.turns is 'Count of turns that are done.';
comment on column reporting.turns_by_hour_v1.attempts is 'Count of their attempts.';
comment on column reporting.turns_by_hour_v1.failures is 'Count of attempts at which the agent itself failed, without the last ones.';
comment on column reporting.turns_by_hour_v1.messages is 'Count of messages that the turns said.';
