-- Writes the oldest decision about a number's held deliveries to a batch of them. One statement
-- for 300,000 deliveries would hold their rows for minutes, and a crash would begin it again. It
-- skips rows that somebody holds, so it waits for nobody. Returns whether it wrote anything.
create or replace function release_held_deliveries(of_number uuid) returns boolean language plpgsql
set search_path = textback, pg_temp as $$
declare
    most constant integer := 1000;
    plan          jsonb;
    until         timestamptz;
    class         text;
    why           text;
    ids           uuid[];
begin
    select held_plans -> 0 into plan from number where id = of_number for no key update;
    if plan is null then
        return false;
    end if;
    until := plan ->> 'at';
    class := plan ->> 'class';
    why := plan ->> 'detail';
    ids := array(
        select delivery.id from delivery
         where number_id = of_number and due_at = 'infinity' and status = 'planned' and created_at <= until
         limit most
           for update skip locked);
    if class is null then
        update delivery set due_at = now(), error_detail = null, updated_at = now() where id = any (ids);
    else
        update delivery
           set status = 'failed', due_at = null, updated_at = now(), error_class = class, error_detail = why,
               history = append_step(history, delivery_step('failed', null, null, class, why))
         where id = any (ids);
    end if;
    perform from delivery
      where number_id = of_number and due_at = 'infinity' and status = 'planned' and created_at <= until limit 1;
    if not found then
        update number set held_plans = held_plans - 0 where id = of_number;
        return true;
    end if;
    return ids <> '{}';
end $$;
