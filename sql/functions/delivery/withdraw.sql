-- Suppresses those of these deliveries that are planned, because their messages are no longer true,
-- and removes them from the count. The caller holds their contacts' locks.
create or replace function withdraw_deliveries(ids uuid[]) returns void language plpgsql
set search_path = textback, pg_temp as $$
declare
    withdrawn record;
begin
    for withdrawn in
        update delivery
           set status = 'suppressed', due_at = null, updated_at = now(),
               error_code = null, error_class = null, error_detail = 'it is no longer true',
               history = append_step(history, delivery_step('suppressed', null, null, null, 'it is no longer true'))
         where id = any (ids) and status = 'planned'
        returning delivery.project_id, delivery.contact, delivery.created_at
    loop
        perform uncount_outbound(withdrawn.project_id, withdrawn.contact, 1, withdrawn.created_at);
    end loop;
end $$;
