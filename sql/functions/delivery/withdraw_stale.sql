-- Suppresses planned deliveries of warnings and closings (kinds) to a contact that are no longer true. The caller holds
-- the contact's lock.
create or replace function withdraw_stale_deliveries(from_number uuid, to_contact text, kinds text[]) returns void language plpgsql
set search_path = textback, pg_temp as $$
declare
    withdrawn record;
begin
    for withdrawn in
        update delivery
           set status = 'suppressed', due_at = null, updated_at = now(), error_detail = 'it is no longer true',
               history = append_step(history, delivery_step('suppressed', null, null, null, 'it is no longer true'))
          from message
         where delivery.number_id = from_number and delivery.contact = to_contact
           and delivery.due_at is not null and delivery.status = 'planned'
           and message.id = delivery.id and message.kind = any (kinds)
        returning delivery.project_id, delivery.created_at
    loop
        perform uncount_outbound(withdrawn.project_id, to_contact, 1, withdrawn.created_at);
    end loop;
end $$;
