-- Writes a batch of a decision about held deliveries, of any number that no other worker has.
-- Returns whether it wrote one: a number whose deliveries somebody else holds is passed over, so
-- that the others do not wait for it.
create or replace function release_next_deliveries() returns boolean language plpgsql
set search_path = textback, pg_temp as $$
declare
    of_number uuid;
    before    uuid;
begin
    loop
        select id into of_number from number
         where held_plans <> '[]' and (before is null or id > before)
         order by id limit 1 for no key update skip locked;
        if not found then
            return false;
        end if;
        if release_held_deliveries(of_number) then
            return true;
        end if;
        before := of_number;
    end loop;
end $$;
