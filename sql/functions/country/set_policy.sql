-- Overrides the policy of a country for a project; a null value takes the known one. The caller
-- settles the registration of the project's numbers there.
create or replace function set_country_policy(of_project uuid, in_country text, changes jsonb) returns void language plpgsql
set search_path = textback, pg_temp as $$
begin
    insert into country_policy (project_id, iso2) values (of_project, in_country)
    on conflict on constraint country_policy_pk do nothing;
    update country_policy
       set two_way = case when changes ? 'two_way' then (changes ->> 'two_way')::boolean else two_way end,
           registration_policy = case when changes ? 'registration_policy' then changes ->> 'registration_policy' else registration_policy end,
           note = case when changes ? 'note' then changes ->> 'note' else note end,
           changed_at = now()
     where project_id = of_project and iso2 = in_country;
end $$;
