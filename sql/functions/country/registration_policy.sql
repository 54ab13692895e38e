-- The registration policy of a country for a project: its own, else the known one.
create or replace function registration_policy_of(of_project uuid, in_country text) returns text language plpgsql stable
set search_path = textback, pg_temp as $$
begin
    return coalesce((select registration_policy from country_policy where project_id = of_project and iso2 = in_country),
                    (select registration_policy from sms_country where iso2 = in_country), 'unknown');
end $$;
