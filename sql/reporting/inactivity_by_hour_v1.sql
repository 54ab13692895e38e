-- Warnings and ends of inactive sessions, counted by hour.
create or replace view reporting.inactivity_by_hour_v1 with (security_barrier) as
select rollup.project_id, rollup.hour, rollup.channel, coalesce(number.number, rollup.endpoint_id::text) as address,
       rollup.agent_id, agent.name as agent_name,
       rollup.warned,
       rollup.rescued,
       rollup.ended,
       rollup.ended_otherwise,
       rollup.waiting,
       rollup.ended_without_warning
  from inactivity_rollup rollup
  left join number on number.id = rollup.endpoint_id
  left join agent on agent.id = rollup.agent_id
 where rollup.project_id in (select project_id from reporting.projects_v1);

comment on view reporting.inactivity_by_hour_v1 is 'Counts of warnings by the hour of the warning, with what became of them. Their outcomes add up to warned. Counts of several rows can be added. Filter on hour to read few rows.';
comment on column reporting.inactivity_by_hour_v1.project_id is 'Id of the project. Joins with projects_v1.';
comment on column reporting.inactivity_by_hour_v1.hour is 'Start of the hour, in UTC. Compare this column itself with whole hours.';
comment on column reporting.inactivity_by_hour_v1.channel is 'Channel of the session, by the word that the API has for it.';
comment on column reporting.inactivity_by_hour_v1.address is 'The number of the project in E.164 or as a short code, or the id of another endpoint.';
comment on column reporting.inactivity_by_hour_v1.agent_id is 'Id of the agent of the session.';
comment on column reporting.inactivity_by_hour_v1.agent_name is 'Name that the agent has now.';
comment on column reporting.inactivity_by_hour_v1.warned is 'Count of all warnings.';
comment on column reporting.inactivity_by_hour_v1.rescued is 'Count of warnings after which a message kept the session open.';
comment on column reporting.inactivity_by_hour_v1.ended is 'Count of warnings after which the session timed out.';
comment on column reporting.inactivity_by_hour_v1.ended_otherwise is 'Count of warnings after which the session ended for another reason.';
comment on column reporting.inactivity_by_hour_v1.waiting is 'Count of warnings whose grace is not over.';
comment on column reporting.inactivity_by_hour_v1.ended_without_warning is 'Count of sessions that timed out in this hour on a channel without warnings. They are not part of warned.';
