-- Deliveries by their present status, counted by hour.
create or replace view reporting.deliveries_by_hour_v1 with (security_barrier) as
select rollup.project_id, rollup.hour, rollup.channel, coalesce(number.number, rollup.endpoint_id::text) as address,
       rollup.agent_id, agent.name as agent_name,
       number.country as number_country,
       nullif(rollup.calling_code, '') as contact_calling_code,
       rollup.status,
       nullif(rollup.error_code, 0) as error_code,
       nullif(rollup.error_class, '') as error_class,
       rollup.deliveries,
       rollup.attempts,
       rollup.segments
  from delivery_rollup rollup
  left join number on number.id = rollup.endpoint_id
  left join agent on agent.id = rollup.agent_id
 where rollup.project_id in (select project_id from reporting.projects_v1);

comment on view reporting.deliveries_by_hour_v1 is 'Counts of deliveries by the hour in which they were created, by the status that they have by now. Their latencies are in latencies_by_hour_v1. Counts of several rows can be added. Filter on hour to read few rows.';
comment on column reporting.deliveries_by_hour_v1.project_id is 'Id of the project. Joins with projects_v1.';
comment on column reporting.deliveries_by_hour_v1.hour is 'Start of the hour, in UTC. Compare this column itself with whole hours.';
comment on column reporting.deliveries_by_hour_v1.channel is 'Channel of the session, by the word that the API has for it.';
comment on column reporting.deliveries_by_hour_v1.address is 'The number of the project in E.164 or as a short code, or the id of another endpoint.';
comment on column reporting.deliveries_by_hour_v1.agent_id is 'Id of the agent of the session.';
comment on column reporting.deliveries_by_hour_v1.agent_name is 'Name that the agent has now.';
comment on column reporting.deliveries_by_hour_v1.number_country is 'Country of the number that sends (ISO 3166-1 alpha-2). Null: its digits don''t tell.';
comment on column reporting.deliveries_by_hour_v1.contact_calling_code is 'Country calling code of the contacts without the plus. Null for short codes.';
comment on column reporting.deliveries_by_hour_v1.status is 'Status of the deliveries: see deliveries_v1.status.';
comment on column reporting.deliveries_by_hour_v1.error_code is 'Error code of the carrier. Null: none.';
comment on column reporting.deliveries_by_hour_v1.error_class is 'What the error means, by textback: see deliveries_v1.error_class. Null: none.';
comment on column reporting.deliveries_by_hour_v1.deliveries is 'Count of these deliveries.';
comment on column reporting.deliveries_by_hour_v1.attempts is 'Count of calls of the carrier for them.';
comment on column reporting.deliveries_by_hour_v1.segments is 'Count of segments of their messages, whether the carrier had them or not.';
