-- Histograms of latencies by hour.
create or replace view reporting.latencies_by_hour_v1 with (security_barrier) as
select rollup.project_id, rollup.hour, rollup.channel, coalesce(number.number, rollup.endpoint_id::text) as address,
       rollup.agent_id, agent.name as agent_name,
       rollup.agent_version,
       rollup.measure,
       nullif(rollup.below_seconds, 'infinity') as below_seconds,
       rollup.observations,
       rollup.seconds
  from latency_rollup rollup
  left join number on number.id = rollup.endpoint_id
  left join agent on agent.id = rollup.agent_id
 where rollup.project_id in (select project_id from reporting.projects_v1);

comment on view reporting.latencies_by_hour_v1 is 'Histograms: counts of latencies by their buckets, and by the hour of what was measured. docs/reporting.md has a statement for percentiles. Counts of several rows can be added. Filter on hour to read few rows.';
comment on column reporting.latencies_by_hour_v1.project_id is 'Id of the project. Joins with projects_v1.';
comment on column reporting.latencies_by_hour_v1.hour is 'Start of the hour, in UTC. Compare this column itself with whole hours.';
comment on column reporting.latencies_by_hour_v1.channel is 'Channel of the session, by the word that the API has for it.';
comment on column reporting.latencies_by_hour_v1.address is 'The number of the project in E.164 or as a short code, or the id of another endpoint.';
comment on column reporting.latencies_by_hour_v1.agent_id is 'Id of the agent of the session.';
comment on column reporting.latencies_by_hour_v1.agent_name is 'Name that the agent has now.';
comment on column reporting.latencies_by_hour_v1.agent_version is 'Number of the version of the agent.';
comment on column reporting.latencies_by_hour_v1.measure is 'turn (turns_v1.total_seconds), agent (turns_v1.agent_seconds), reply (from the first message of a turn to the acceptance of its answer by the carrier), accepted or delivered (deliveries_v1.accepted_seconds and delivered_seconds). The first three count in the hour in which the turn was done, the others in that in which the delivery was created.';
comment on column reporting.latencies_by_hour_v1.below_seconds is 'Seconds that all latencies of the bucket are below, and not below the bound before. The bounds are 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 20, 30, 45, 60, 90, 120, 300, 600, 1800, 3600, 21600 and 86400. Null: no bound.';
comment on column reporting.latencies_by_hour_v1.observations is 'Count of latencies in the bucket.';
comment on column reporting.latencies_by_hour_v1.seconds is 'Sum of these latencies in seconds.';
