-- Decides what becomes of the deliveries of a number that wait for its registration: they are
-- planned again, in order, or fail if class is not null. The first batch is written at once, the
-- others by a worker (release_held_deliveries). The caller has locked the number.
create or replace function plan_held_deliveries(of_number uuid, class text, why text) returns void language plpgsql
set search_path = textback, pg_temp as $$
declare
    -- Not now(): who planned a delivery may have begun after this transaction and locked the number
    -- before it.
    this_time timestamptz := clock_timestamp();
begin
    update number
       set held_plans = held_plans || jsonb_build_object('at', this_time, 'class', class, 'detail', why)
     where id = of_number;
    perform release_held_deliveries(of_number);
end $$;
