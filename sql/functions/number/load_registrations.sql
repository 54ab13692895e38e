-- Locks numbers and returns what decides about their registration: domain/number.rs. policy: that
-- of the number's country.
create or replace function load_registrations(ids uuid[])
returns table (id uuid, registration text, registration_detail text, policy text) language plpgsql
set search_path = textback, pg_temp as $$
begin
    -- By a statement of its own: a policy that changed while it waited is read. Not "for update":
    -- that would wait for inserts of scheduled messages, which share the number's key and may hold
    -- the rows that we need next.
    perform from number where number.id = any (ids) order by number.id for no key update;
    return query
    select number.id, number.registration, number.registration_detail, registration_policy_of(number.project_id, number.country)
      from number
     where number.id = any (ids)
     order by number.id;
end $$;
