-- Counts messages that are about to be planned: for each contact all or none, and for the project
-- all or none. Returns the contacts whose messages may be planned. Every caller locks the project's
-- row before those of its contacts, until the transaction ends. So two transactions can't exceed a
-- limit together. The transactions of a project with a project limit wait for each other.
create or replace function count_outbound(of_project uuid, contacts text[], mores integer[]) returns text[] language plpgsql
set search_path = textback, pg_temp as $$
declare
    limits  record;
    in_all  integer;
    counted text[];
begin
    select array[outbound_per_contact_per_hour, outbound_per_contact_per_day] as of_one,
           array[outbound_per_project_per_minute, outbound_per_project_per_day] as of_all
      into limits from project where id = of_project;
    if limits.of_all <> '{0,0}' then
        select sum(more) into in_all from unnest(mores) more;
        if add_to_rate_windows(of_project, '{""}', array[in_all], limits.of_all, '{1 minute, 24 hours}') = '{}' then
            return '{}';
        end if;
    end if;
    if limits.of_one = '{0,0}' then
        return contacts;
    end if;
    counted := add_to_rate_windows(of_project, contacts, mores, limits.of_one, '{1 hour, 24 hours}');
    if limits.of_all <> '{0,0}' and not contacts <@ counted then
        select sum(more) into in_all from unnest(contacts, mores) as w (of_contact, more) where of_contact <> all (counted);
        perform uncount_outbound(of_project, null, in_all, now());
    end if;
    return counted;
end $$;
