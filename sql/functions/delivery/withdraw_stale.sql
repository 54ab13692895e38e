-- Suppresses planned deliveries of warnings and closings (kinds) to a contact that are no longer
-- true. The caller holds the contact's lock.
create or replace function withdraw_stale_deliveries(from_number uuid, to_contact text, kinds text[]) returns void language plpgsql
set search_path = textback, pg_temp as $$
begin
    perform withdraw_deliveries(array(
        select delivery.id
          from delivery join message on message.id = delivery.id
         where delivery.number_id = from_number and delivery.contact = to_contact
           and delivery.due_at is not null and delivery.status = 'planned' and message.kind = any (kinds)));
end $$;
