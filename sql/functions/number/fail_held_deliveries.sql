-- Fails the deliveries of a number that wait for its registration.
create or replace function fail_held_deliveries(of_number uuid, class text, why text) returns void language plpgsql
set search_path = textback, pg_temp as $$
begin
    update delivery
       set status = 'failed', due_at = null, updated_at = now(), error_class = class, error_detail = why,
           history = append_step(history, delivery_step('failed', null, null, class, why))
     where number_id = of_number and status = 'planned' and due_at = 'infinity';
end $$;
