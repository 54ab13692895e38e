-- Plans deliveries again that were claimed and not begun. It takes the contacts' locks (see
-- opt_out). The caller withdraws those whose messages are no longer true.
create or replace function give_back_deliveries(ids uuid[], tokens uuid[]) returns void language plpgsql
set search_path = textback, pg_temp as $$
declare
    lock_of record;
begin
    for lock_of in
        select distinct number_id, contact from delivery where id = any (ids) order by number_id, contact
    loop
        perform lock_contact(lock_of.number_id, lock_of.contact);
    end loop;
    update delivery
       set status = 'planned', lease_token = null, leased_until = null, attempts = attempts - 1, updated_at = now(),
           history = history - (-1)
     -- By an array, because a join that was planned while the table was empty would read the whole
     -- index.
     where id = any (ids)
       and lease_token = any (array(select given.token from unnest(ids, tokens) as given (id, token) where given.id = delivery.id));
end $$;
