-- What carriers charge for, counted by hour.
create or replace view reporting.segments_by_hour_v1 with (security_barrier) as
select rollup.project_id, rollup.hour, rollup.channel, coalesce(number.number, rollup.endpoint_id::text) as address,
       rollup.agent_id, agent.name as agent_name,
       number.country as number_country,
       nullif(rollup.calling_code, '') as contact_calling_code,
       rollup.direction,
       rollup.encoding,
       rollup.is_at_the_carrier,
       rollup.messages,
       rollup.segments
  from segment_rollup rollup
  left join number on number.id = rollup.endpoint_id
  left join agent on agent.id = rollup.agent_id
 where rollup.project_id in (select project_id from reporting.projects_v1);

comment on view reporting.segments_by_hour_v1 is 'Counts of messages with segments, the unit in which carriers charge, by the hour in which they were stored. Counts of several rows can be added. Filter on hour to read few rows.';
comment on column reporting.segments_by_hour_v1.project_id is 'Id of the project. Joins with projects_v1.';
comment on column reporting.segments_by_hour_v1.hour is 'Start of the hour, in UTC. Compare this column itself with whole hours.';
comment on column reporting.segments_by_hour_v1.channel is 'Channel of the session, by the word that the API has for it.';
comment on column reporting.segments_by_hour_v1.address is 'The number of the project in E.164 or as a short code, or the id of another endpoint.';
comment on column reporting.segments_by_hour_v1.agent_id is 'Id of the agent of the session.';
comment on column reporting.segments_by_hour_v1.agent_name is 'Name that the agent has now.';
comment on column reporting.segments_by_hour_v1.number_country is 'Country of the number of the project (ISO 3166-1 alpha-2). Null: its digits don''t tell.';
comment on column reporting.segments_by_hour_v1.contact_calling_code is 'Country calling code of the contacts without the plus: prices depend on the country of the contact. Null for short codes.';
comment on column reporting.segments_by_hour_v1.direction is 'inbound (from the contact) or outbound (to the contact). Carriers charge for both.';
comment on column reporting.segments_by_hour_v1.encoding is 'gsm7 (160 characters in one segment) or ucs2 (70).';
comment on column reporting.segments_by_hour_v1.is_at_the_carrier is 'Whether the carrier had the messages, so that it may charge for them.';
comment on column reporting.segments_by_hour_v1.messages is 'Count of these messages.';
comment on column reporting.segments_by_hour_v1.segments is 'Count of their segments.';
