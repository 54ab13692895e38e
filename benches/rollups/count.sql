-- Counts the hours as the job does, the newest first.
set search_path = textback;
set statement_timeout = 0;
set jit = off;
create temp table took (seconds double precision);
create or replace procedure pg_temp.count_hours() language plpgsql as $$
declare
    began timestamptz;
begin
    for back in -1 .. 2161 loop
        began := clock_timestamp();
        perform textback.recount_hours(textback.hour_of(now() - back * interval '1 hour'), textback.hour_of(now() - (back - 1) * interval '1 hour'));
        insert into took values (extract(epoch from clock_timestamp() - began));
        commit;
    end loop;
end $$;
call pg_temp.count_hours();
vacuum analyze message_rollup, session_rollup, inactivity_rollup, turn_rollup, delivery_rollup, segment_rollup, latency_rollup;
\echo seconds for all hours, the median of an hour, the slowest, and microseconds for a message
select round(sum(seconds)::numeric, 1) as all, round((percentile_cont(0.5) within group (order by seconds))::numeric, 4) as median,
       round(max(seconds)::numeric, 3) as slowest, round((1e6 * sum(seconds) / (select count(*) from message))::numeric, 1) as us_per_message
  from took;
select (select count(*) from message_rollup) as messages, (select count(*) from session_rollup) as sessions,
       (select count(*) from turn_rollup) as turns, (select count(*) from delivery_rollup) as deliveries,
       (select count(*) from segment_rollup) as segments, (select count(*) from latency_rollup) as latencies,
       pg_size_pretty(pg_total_relation_size('message_rollup') + pg_total_relation_size('session_rollup') + pg_total_relation_size('inactivity_rollup')
                      + pg_total_relation_size('turn_rollup') + pg_total_relation_size('delivery_rollup') + pg_total_relation_size('segment_rollup')
                      + pg_total_relation_size('latency_rollup')) as size;
