-- When the quiet hours of a project that apply to a contact now are over; null when none apply. A number that may be in
-- several zones is left alone while it is quiet in any of them; one whose zone is unknown goes by UTC.
create or replace function quiet_hours_end(of_project uuid, of_contact text) returns timestamptz language plpgsql stable
set search_path = textback, pg_temp as $$
declare
    quiet    record;
    zone     text;
    zones    text[];
    local_at timestamp;
    until_at timestamptz;
    latest   timestamptz;
begin
    select quiet_from as begins, quiet_until as ends into quiet from project where id = of_project;
    if quiet.begins is null then
        return null;
    end if;
    select time_zone_of_prefix.zones into zones from time_zone_of_prefix
     where prefix in (substr(of_contact, 2, 1), substr(of_contact, 2, 2), substr(of_contact, 2, 3), substr(of_contact, 2, 4))
     order by length(prefix) desc limit 1;
    foreach zone in array coalesce(zones, '{UTC}') loop
        local_at := now() at time zone zone;
        if quiet.begins < quiet.ends then
            continue when local_at::time < quiet.begins or local_at::time >= quiet.ends;
            until_at := (local_at::date + quiet.ends) at time zone zone;
        elsif local_at::time >= quiet.begins then
            until_at := (local_at::date + 1 + quiet.ends) at time zone zone;
        elsif local_at::time < quiet.ends then
            until_at := (local_at::date + quiet.ends) at time zone zone;
        else
            continue;
        end if;
        latest := greatest(latest, until_at);
    end loop;
    return latest;
end $$;
