-- Suppresses one delivery that was planned again if its message is no longer true: a warning when its session is not
-- warned any more, a closing when the contact has a later session. The caller holds the contact's lock.
create or replace function withdraw_delivery_if_stale(of_delivery uuid) returns void language plpgsql
set search_path = textback, pg_temp as $$
declare
    withdrawn record;
begin
    update delivery
       set status = 'suppressed', due_at = null, updated_at = now(), error_detail = 'it is no longer true',
           history = append_step(history, delivery_step('suppressed', null, null, null, 'it is no longer true'))
      from message join session on session.id = message.session_id
     where delivery.id = of_delivery and delivery.status = 'planned' and message.id = delivery.id
       and ((message.kind = 'warning' and session.status <> 'warned')
            or (message.kind = 'closing'
                and exists (select from session later
                             where later.project_id = session.project_id and later.contact = session.contact
                               and later.endpoint_id = session.endpoint_id and later.previous_session_id = session.id)))
    returning delivery.project_id, delivery.contact, delivery.created_at into withdrawn;
    if found then
        perform uncount_outbound(withdrawn.project_id, withdrawn.contact, 1, withdrawn.created_at);
    end if;
end $$;
