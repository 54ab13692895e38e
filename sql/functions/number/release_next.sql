-- Writes a portion of a decision about held deliveries, of any number that no other worker has. Returns whether there was one.
create or replace function release_next_deliveries() returns boolean language plpgsql
set search_path = textback, pg_temp as $$
declare
    of_number uuid;
begin
    select id into of_number from number where held_plans <> '[]' order by id limit 1 for no key update skip locked;
    if not found then
        return false;
    end if;
    perform release_held_deliveries(of_number);
    return true;
end $$;
