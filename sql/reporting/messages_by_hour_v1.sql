-- Messages, counted by hour.
create or replace view reporting.messages_by_hour_v1 with (security_barrier) as
select rollup.project_id, rollup.hour, rollup.channel, coalesce(number.number, rollup.endpoint_id::text) as address,
       rollup.agent_id, agent.name as agent_name,
       rollup.direction,
       rollup.kind,
       nullif(rollup.skip_reason, '') as skip_reason,
       nullif(rollup.session_case, '') as session_case,
       rollup.messages,
       rollup.segments
  from message_rollup rollup
  left join number on number.id = rollup.endpoint_id
  left join agent on agent.id = rollup.agent_id
 where rollup.project_id in (select project_id from reporting.projects_v1);

comment on view reporting.messages_by_hour_v1 is 'Counts of messages by the hour in which they were stored, one row for each combination that occurs. Counts of several rows can be added. Filter on hour to read few rows.';
comment on column reporting.messages_by_hour_v1.project_id is 'Id of the project. Joins with projects_v1.';
comment on column reporting.messages_by_hour_v1.hour is 'Start of the hour, in UTC. Compare this column itself with whole hours.';
comment on column reporting.messages_by_hour_v1.channel is 'Channel of the session, by the word that the API has for it.';
comment on column reporting.messages_by_hour_v1.address is 'The number of the project in E.164 or as a short code, or the id of another endpoint.';
comment on column reporting.messages_by_hour_v1.agent_id is 'Id of the agent of the session.';
comment on column reporting.messages_by_hour_v1.agent_name is 'Name that the agent has now.';
comment on column reporting.messages_by_hour_v1.direction is 'inbound (from the contact) or outbound (to the contact).';
comment on column reporting.messages_by_hour_v1.kind is 'Kind of the message: see messages_v1.kind.';
comment on column reporting.messages_by_hour_v1.skip_reason is 'Inbound: why the messages get no answer. Null: they get one.';
comment on column reporting.messages_by_hour_v1.session_case is 'Inbound: what the messages did: see messages_v1.session_case. Null: outbound.';
comment on column reporting.messages_by_hour_v1.messages is 'Count of these messages.';
comment on column reporting.messages_by_hour_v1.segments is 'Count of their segments. 0 on a channel without segments.';
