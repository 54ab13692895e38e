-- Moves a delivery forward by a status report of the carrier. Late and repeated reports change
-- nothing. outcome: moved, unchanged, or unknown when no delivery of the project matches.
-- message_id, session_id: of the delivery that matches. turn_id: the turn that made the message, if
-- one did. It takes the contact's lock for an opt-out, which the caller records, as it does a lack
-- of registration.
create or replace function record_delivery_status(
    of_project uuid, of_delivery uuid, of_carrier_id text, to_status text, code integer, class text,
    out outcome text, out message_id uuid, out session_id uuid, out turn_id uuid
) language plpgsql
set search_path = textback, pg_temp as $$
declare
    locked      record;
    this_time timestamptz := now();
begin
    select id, number_id, contact into locked from delivery
     where project_id = of_project
       and id = of_delivery and (carrier_id is null or carrier_id = of_carrier_id);
    if not found then
        select id, number_id, contact into locked from delivery
         where project_id = of_project and carrier_id = of_carrier_id;
    end if;
    if not found then
        outcome := 'unknown';
        return;
    end if;
    if class = 'opted_out' then
        -- The contact's lock comes before the delivery's row.
        perform lock_contact(locked.number_id, locked.contact);
    end if;
    select delivery.id, delivery.session_id, delivery.status, delivery.carrier_id into locked from delivery
     where id = locked.id and (carrier_id is null or carrier_id = of_carrier_id)
       for update;
    if not found then
        outcome := 'unknown';
        return;
    end if;
    message_id := locked.id;
    session_id := locked.session_id;
    select message.turn_id into turn_id from message where message.id = locked.id;
    -- A delivery that we failed or suppressed without an answer of the carrier still takes the
    -- carrier's report.
    if delivery_rank(to_status) <= delivery_rank(locked.status)
       and not (locked.carrier_id is null and locked.status in ('failed', 'suppressed') and to_status <> 'failed') then
        outcome := 'unchanged';
        return;
    end if;
    update delivery
       set status = to_status, carrier_id = of_carrier_id, due_at = null, lease_token = null, leased_until = null,
           accepted_at = case when accepted_at is null then this_time else accepted_at end,
           error_code = code, error_class = class, error_detail = null, updated_at = now(),
           history = append_step(history, delivery_step(to_status, 'report', code, class, null))
     where id = locked.id;
    if to_status = 'failed' then
        perform expedite_inactivity(locked.id);
    end if;
    outcome := 'moved';
end $$;
