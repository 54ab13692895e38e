-- Counts hours again, from one to another, for all projects. Counts of frozen hours stay. The
-- transaction must be repeatable read, so that it sees rows and what deleted them together.
create or replace function recount_hours(since timestamptz, until timestamptz) returns void language plpgsql
-- The connections of the product use indexes only. Here the times in a statement decide: an hour is
-- read by a BRIN index, and what belongs to its rows is joined by a hash when there are many.
set enable_bitmapscan = on
set enable_seqscan = on
set plan_cache_mode = force_custom_plan
set search_path = textback, pg_temp as $$
declare
    -- Few hours are, and is_frozen is called for each row.
    any_frozen boolean := exists (select from rollup_frozen where hour >= since and hour < until);
begin
    delete from rollup_mark where hour >= since and hour < until;

    delete from message_rollup counted where hour >= since and hour < until and not (any_frozen and is_frozen(counted.project_id, counted.hour));
    insert into message_rollup select * from messages_of_hours(since, until) counted where not (any_frozen and is_frozen(counted.project_id, counted.hour));

    delete from session_rollup counted where hour >= since and hour < until and not (any_frozen and is_frozen(counted.project_id, counted.hour));
    insert into session_rollup select * from sessions_of_hours(since, until) counted where not (any_frozen and is_frozen(counted.project_id, counted.hour));

    delete from inactivity_rollup counted where hour >= since and hour < until and not (any_frozen and is_frozen(counted.project_id, counted.hour));
    insert into inactivity_rollup select * from inactivity_of_hours(since, until) counted where not (any_frozen and is_frozen(counted.project_id, counted.hour));

    delete from turn_rollup counted where hour >= since and hour < until and not (any_frozen and is_frozen(counted.project_id, counted.hour));
    insert into turn_rollup select * from turns_of_hours(since, until) counted where not (any_frozen and is_frozen(counted.project_id, counted.hour));

    delete from delivery_rollup counted where hour >= since and hour < until and not (any_frozen and is_frozen(counted.project_id, counted.hour));
    insert into delivery_rollup select * from deliveries_of_hours(since, until) counted where not (any_frozen and is_frozen(counted.project_id, counted.hour));

    delete from segment_rollup counted where hour >= since and hour < until and not (any_frozen and is_frozen(counted.project_id, counted.hour));
    insert into segment_rollup select * from segments_of_hours(since, until) counted where not (any_frozen and is_frozen(counted.project_id, counted.hour));

    delete from latency_rollup counted where hour >= since and hour < until and not (any_frozen and is_frozen(counted.project_id, counted.hour));
    insert into latency_rollup select * from latencies_of_hours(since, until) counted where not (any_frozen and is_frozen(counted.project_id, counted.hour));
end $$;
