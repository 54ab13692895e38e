-- Stores what was decided about the registration of a number, which the caller has locked. Held
-- deliveries are planned again, in order, if replans; they fail if class is not null; otherwise
-- they wait on.
create or replace function store_registration(
    of_number uuid, to_registration text, detail text, to_policy text, replans boolean, class text, why text
) returns void language plpgsql
set search_path = textback, pg_temp as $$
begin
    -- A decision to send that is not written yet does not count any more. One to fail does: it was
    -- about earlier messages.
    update number
       set registration = to_registration, registration_detail = detail, send_policy = to_policy,
           held_plans = (select coalesce(jsonb_agg(plan order by ordinal), '[]')
                           from jsonb_array_elements(held_plans) with ordinality as plans (plan, ordinal)
                          where plan ->> 'class' is not null)
     where id = of_number;
    if replans or class is not null then
        perform plan_held_deliveries(of_number, class, why);
    end if;
end $$;
