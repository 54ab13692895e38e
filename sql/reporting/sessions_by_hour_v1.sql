-- Sessions, counted in the hour of their opening and in the hour of their end.
create or replace view reporting.sessions_by_hour_v1 with (security_barrier) as
select rollup.project_id, rollup.hour, rollup.channel, coalesce(number.number, rollup.endpoint_id::text) as address,
       rollup.agent_id, agent.name as agent_name,
       rollup.agent_version,
       rollup.origin,
       rollup.session_case,
       nullif(rollup.end_reason, '') as end_reason,
       rollup.opened,
       rollup.closed,
       rollup.closed_seconds
  from session_rollup rollup
  left join number on number.id = rollup.endpoint_id
  left join agent on agent.id = rollup.agent_id
 where rollup.project_id in (select project_id from reporting.projects_v1);

comment on view reporting.sessions_by_hour_v1 is 'Counts of sessions by the hour in which they were opened, and again by the hour in which they ended. That a message continues a session is in messages_by_hour_v1. Counts of several rows can be added. Filter on hour to read few rows.';
comment on column reporting.sessions_by_hour_v1.project_id is 'Id of the project. Joins with projects_v1.';
comment on column reporting.sessions_by_hour_v1.hour is 'Start of the hour, in UTC. Compare this column itself with whole hours.';
comment on column reporting.sessions_by_hour_v1.channel is 'Channel of the session, by the word that the API has for it.';
comment on column reporting.sessions_by_hour_v1.address is 'The number of the project in E.164 or as a short code, or the id of another endpoint.';
comment on column reporting.sessions_by_hour_v1.agent_id is 'Id of the agent of the session.';
comment on column reporting.sessions_by_hour_v1.agent_name is 'Name that the agent has now.';
comment on column reporting.sessions_by_hour_v1.agent_version is 'Number of the version of the agent that the sessions keep.';
comment on column reporting.sessions_by_hour_v1.origin is 'Who opened the sessions: inbound (the contact) or outbound (a message of the project or of an agent).';
comment on column reporting.sessions_by_hour_v1.session_case is 'How the sessions began: see sessions_v1.session_case.';
comment on column reporting.sessions_by_hour_v1.end_reason is 'Why the sessions ended: see sessions_v1.end_reason. Null: the row counts sessions that were opened.';
comment on column reporting.sessions_by_hour_v1.opened is 'Count of sessions that were opened in this hour.';
comment on column reporting.sessions_by_hour_v1.closed is 'Count of sessions that ended in this hour.';
comment on column reporting.sessions_by_hour_v1.closed_seconds is 'Seconds from the opening to the end of the sessions that ended in this hour, added up.';
