-- Stores what was decided about the registration of a number, which the caller has locked. Held deliveries are planned again, in
-- order, if replans; they fail if class is not null; otherwise they wait on.
create or replace function store_registration(
    of_number uuid, to_registration text, detail text, to_policy text, replans boolean, class text, why text
) returns void language plpgsql
set search_path = textback, pg_temp as $$
begin
    update number set registration = to_registration, registration_detail = detail, send_policy = to_policy where id = of_number;
    if replans then
        update delivery set due_at = now(), error_detail = null, updated_at = now()
         where number_id = of_number and status = 'planned' and due_at = 'infinity';
    elsif class is not null then
        perform fail_held_deliveries(of_number, class, why);
    end if;
end $$;
