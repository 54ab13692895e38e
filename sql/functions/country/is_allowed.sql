-- Whether a project may send to a contact, given the countries that the contact's digits allow. The
-- project's own list decides. Without a list, the countries of its attached numbers are allowed,
-- and any contact who wrote to the project first.
create or replace function country_is_allowed(of_project uuid, to_contact text, countries text[]) returns boolean language plpgsql stable
set search_path = textback, pg_temp as $$
declare
    allowed text[];
begin
    select allowed_countries into allowed from project where id = of_project;
    if allowed is not null then
        return allowed && countries;
    end if;
    -- A toll-free number of +1, or one of an unknown area, serves the United States and Canada.
    select array_agg(of_number.country) into allowed
      from number
      join endpoint on endpoint.id = number.id and endpoint.detached_at is null
     cross join lateral unnest(case when number.number ~ '^\+18(00|33|44|55|66|77|88)' then '{US,CA}'
                                    when number.country is not null then array[number.country]
                                    when number.number like '+1%' then '{US,CA}' end) as of_number (country)
     where number.project_id = of_project;
    -- If the digits of no number tell its country, every country is allowed.
    return allowed is null or allowed && countries
        or exists (select from session where session.project_id = of_project and session.contact = to_contact and engaged);
end $$;
