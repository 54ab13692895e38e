-- Records an opt-out: suppresses planned deliveries that do not leave despite it, refuses scheduled
-- messages, and closes the session of this channel without a message. The caller holds the
-- contact's lock.
--
-- Whoever plans a delivery holds that lock too. So each delivery that could still leave was planned
-- before, and is suppressed here, or is planned later, and then its claim sees the consent. If a
-- worker is claiming a delivery right now, the update waits for that claim. The time of the consent
-- is drawn after the update, so it is later than the claim's.
create or replace function opt_out(
    new_id uuid, of_project uuid, of_endpoint uuid, of_contact text, by_source text, was_said text, in_message uuid, on_channel text
) returns void language plpgsql
set search_path = textback, pg_temp as $$
declare
    locked      record;
    withdrawn record;
begin
    for withdrawn in
        update delivery
           set status = 'suppressed', due_at = null, updated_at = now(), error_class = 'opted_out',
               error_detail = 'the contact has opted out',
               history = append_step(history, delivery_step('suppressed', null, null, 'opted_out', 'the contact has opted out'))
         where number_id = of_endpoint and contact = of_contact and due_at is not null and status = 'planned' and not despite_opt_out
        returning created_at
    loop
        perform uncount_outbound(of_project, of_contact, 1, withdrawn.created_at);
    end loop;
    update scheduled_message set due_at = null, refusal_reason = 'contact_opted_out'
     where number_id = of_endpoint and contact = of_contact and due_at is not null;
    for locked in
        select id, handled_seq from session
         where endpoint_id = of_endpoint and contact = of_contact and channel = on_channel and status <> 'closed'
           for update
    loop
        update message set skip_reason = 'opted_out'
         where session_id = locked.id and direction = 'inbound' and seq > locked.handled_seq and skip_reason is null;
        perform close_session(locked.id, 'opted_out');
    end loop;
    insert into consent (id, project_id, endpoint_id, contact, kind, source, said, message_id, recorded_at)
    values (new_id, of_project, of_endpoint, of_contact, 'opted_out', by_source, left(was_said, 1600), in_message, clock_timestamp());
end $$;
