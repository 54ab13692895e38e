-- Forgets that the sessions of deliveries, and the numbers that these leave from, are in a pool:
-- the carrier said that they are not. The numbers are checked at once. The caller holds the locks
-- of the contacts.
create or replace function leave_pool(deliveries uuid[]) returns void language plpgsql
set search_path = textback, pg_temp as $$
declare
    numbers uuid[] := array(select number_id from delivery where id = any (deliveries));
    pools   text[] := array(select pool_id from session
                             where id = any (array(select session_id from delivery where delivery.id = any (deliveries))) and pool_id is not null);
begin
    update session set pool_id = null where id = any (array(select session_id from delivery where delivery.id = any (deliveries)));
    perform from number where id = any (numbers) order by id for no key update;
    -- A number that is in another pool by now stays there.
    update number set pool_id = case when pool_id = any (pools) then null else pool_id end,
                      check_at = case when check_at is not null then now() end
     where id = any (numbers);
end $$;
