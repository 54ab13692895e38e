-- The quiet hours of a project, with the clocks of the time zones that a contact may be in. They decide whether it is
-- quiet there now: domain/quiet_hours.rs. Null if the project has no quiet hours. A contact of an unknown zone goes by
-- UTC.
create or replace function load_quiet_hours(of_project uuid, of_contact text) returns jsonb language plpgsql stable
set search_path = textback, pg_temp as $$
declare
    quiet record;
    zones text[];
begin
    select quiet_from as begins, quiet_until as ends into quiet from project where id = of_project;
    if quiet.begins is null then
        return null;
    end if;
    select time_zone_of_prefix.zones into zones from time_zone_of_prefix
     where prefix in (substr(of_contact, 2, 1), substr(of_contact, 2, 2), substr(of_contact, 2, 3), substr(of_contact, 2, 4))
     order by length(prefix) desc limit 1;
    return jsonb_build_object(
        'hours', jsonb_build_object('from', quiet.begins, 'until', quiet.ends),
        'clocks', (
            select jsonb_agg(jsonb_build_object(
                       'time', clock.local_at::time,
                       'ends_today', (clock.local_at::date + quiet.ends) at time zone clock.zone,
                       'ends_tomorrow', (clock.local_at::date + 1 + quiet.ends) at time zone clock.zone))
              from (select zone, now() at time zone zone as local_at from unnest(coalesce(zones, '{UTC}')) zone) clock));
end $$;
