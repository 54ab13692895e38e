-- Locks deliveries that are to be settled, and returns what decides about them (domain/delivery_settlement.rs): one row
-- for each that is still claimed under its token, with its position from 1. contacts_of: the deliveries whose contacts are
-- locked first, in the order of all callers (see opt_out).
create or replace function load_deliveries(ids uuid[], tokens uuid[], contacts_of uuid[])
returns table (ordinal bigint, other_waits boolean) language plpgsql
-- One plan a connection. Plans for given values would be made five times before, 10 ms each, and are no better.
set plan_cache_mode = force_generic_plan
set search_path = textback, pg_temp as $$
declare
    lock_of record;
begin
    -- Until the transaction ends. One that waits for somebody's lock keeps all others of its batch, so after a second they go one
    -- by one (batcher.rs).
    perform set_config('lock_timeout', '1s', true);
    if contacts_of <> '{}' then
        for lock_of in
            select distinct delivery.number_id, delivery.contact from delivery
             where delivery.id = any (contacts_of)
             order by delivery.number_id, delivery.contact
        loop
            perform lock_contact(lock_of.number_id, lock_of.contact);
        end loop;
    end if;
    return query
    select claimed.ordinal,
           (select other.seq from delivery other
             where other.number_id = locked.number_id and other.contact = locked.contact
               and other.due_at is not null and other.id <> claimed.id
             limit 1) is not null
      from unnest(ids, tokens) with ordinality as claimed (id, token, ordinal)
     -- By "limit 1" each is looked up by its key, whatever the statistics say.
     cross join lateral (
           select delivery.number_id, delivery.contact from delivery
            where delivery.id = claimed.id and delivery.lease_token = claimed.token
            limit 1 for update) locked;
end $$;
