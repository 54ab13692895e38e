-- Fills the tables of the rollups for thirty days as if each combination that the messages of
-- fill.sql have occurred in every hour: more rows than ten million messages make. For the time of
-- questions without the time to fill the raw tables.
set search_path = textback;
set statement_timeout = 0;
set synchronous_commit = off;
create temp table hours as select hour_of(now()) - n * interval '1 hour' as hour from generate_series(0, 719) n;
create temp table m as select distinct project_id, endpoint_id, agent_id, channel, direction, kind, skip_reason, session_case from message_rollup;
create temp table s as select distinct project_id, endpoint_id, agent_id, channel, agent_version, origin, session_case, end_reason from session_rollup;
create temp table t as select distinct project_id, endpoint_id, agent_id, channel, agent_version, outcome, error_code from turn_rollup;
create temp table d as select distinct project_id, endpoint_id, agent_id, channel, calling_code, status, error_code, error_class from delivery_rollup;
create temp table g as select distinct project_id, endpoint_id, agent_id, channel, calling_code, direction, encoding, is_at_the_carrier from segment_rollup;
create temp table l as select distinct project_id, endpoint_id, agent_id, channel, agent_version, measure, below_seconds from latency_rollup;
truncate message_rollup, session_rollup, turn_rollup, delivery_rollup, segment_rollup, latency_rollup;
set session_replication_role = replica;
insert into message_rollup select m.project_id, hour, m.endpoint_id, m.agent_id, m.channel, m.direction, m.kind, m.skip_reason, m.session_case, 10, 10 from hours, m;
insert into session_rollup select s.project_id, hour, s.endpoint_id, s.agent_id, s.channel, s.agent_version, s.origin, s.session_case, s.end_reason, 10, 10, 10 from hours, s;
insert into turn_rollup select t.project_id, hour, t.endpoint_id, t.agent_id, t.channel, t.agent_version, t.outcome, t.error_code, 10, 10, 0, 10 from hours, t;
insert into delivery_rollup select d.project_id, hour, d.endpoint_id, d.agent_id, d.channel, d.calling_code, d.status, d.error_code, d.error_class, 10, 10, 10 from hours, d;
insert into segment_rollup select g.project_id, hour, g.endpoint_id, g.agent_id, g.channel, g.calling_code, g.direction, g.encoding, g.is_at_the_carrier, 10, 10 from hours, g;
insert into latency_rollup select l.project_id, hour, l.endpoint_id, l.agent_id, l.channel, l.agent_version, l.measure, l.below_seconds, 10, 10 from hours, l;
vacuum analyze message_rollup, session_rollup, turn_rollup, delivery_rollup, segment_rollup, latency_rollup;
select (select count(*) from message_rollup) as messages, (select count(*) from session_rollup) as sessions, (select count(*) from turn_rollup) as turns,
       (select count(*) from delivery_rollup) as deliveries, (select count(*) from segment_rollup) as segments, (select count(*) from latency_rollup) as latencies;
