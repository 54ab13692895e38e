-- Records the opt-out that the carrier reports by refusing a message (21610), unless the contact opted in after that
-- message was on its way. The caller holds the contact's lock.
create or replace function record_carrier_opt_out(new_id uuid, of_delivery uuid) returns void language plpgsql
set search_path = textback, pg_temp as $$
declare
    locked record;
begin
    select delivery.project_id, delivery.number_id, delivery.contact, delivery.attempted_at, session.channel into locked
      from delivery join session on session.id = delivery.session_id where delivery.id = of_delivery;
    if has_opted_out(locked.number_id, locked.contact)
       or exists (select from consent
                   where endpoint_id = locked.number_id and contact = locked.contact and recorded_at > locked.attempted_at) then
        return;
    end if;
    perform opt_out(new_id, locked.project_id, locked.number_id, locked.contact, 'carrier', null, of_delivery, locked.channel);
end $$;
