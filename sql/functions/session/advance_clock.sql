-- Advances the clock of a session that is not closed: everything in it happened so much earlier.
-- For `textback dev` and tests; no clock of a machine changes. Returns whether there was such a
-- session. It takes the contact's lock.
create or replace function advance_session_clock(of_project uuid, of_session uuid, by_seconds double precision) returns boolean language plpgsql
set search_path = textback, pg_temp as $$
declare
    locked    record;
    by_time interval := make_interval(secs => by_seconds);
begin
    select endpoint_id, contact into locked from session where project_id = of_project and id = of_session;
    if not found then
        return false;
    end if;
    -- The contact's lock comes first.
    perform lock_contact(locked.endpoint_id, locked.contact);
    update session
       set opened_at = opened_at - by_time, started_at = started_at - by_time,
           last_message_at = last_message_at - by_time, warned_at = warned_at - by_time
     where id = of_session and status <> 'closed';
    if not found then
        return false;
    end if;
    update message set created_at = created_at - by_time, turn_created_at = turn_created_at - by_time where message.session_id = of_session;
    update delivery
       set created_at = created_at - by_time, accepted_at = accepted_at - by_time,
           attempted_at = attempted_at - by_time, updated_at = updated_at - by_time
     where delivery.session_id = of_session;
    update turn_without_message
       set created_at = created_at - by_time, finished_at = finished_at - by_time
     where turn_without_message.session_id = of_session;
    update inactivity set due_at = due_at - by_time where inactivity.session_id = of_session;
    update outbound_rate_window set short_began = short_began - by_time, day_began = day_began - by_time
     where outbound_rate_window.project_id = of_project and outbound_rate_window.contact = locked.contact;
    return true;
end $$;
