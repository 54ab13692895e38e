-- Sends a text to a contact, in a new session, whose start function is then run, or in the session that is there. It
-- takes the contact's lock. media: [{id, url}]. countries: the countries that the contact may be in.
-- Returns sent, or why not: number_detached, contact_opted_out, country_not_allowed, session_active,
-- contact_limit_reached or project_limit_reached. The last two come with the end of their window.
create or replace function send_text(
    of_project uuid, from_number uuid, to_contact text, countries text[], saying text, media jsonb, on_active text, by_turn uuid,
    new_message uuid, new_session uuid, new_turn uuid
) returns table (outcome text, session_id uuid, until_at timestamptz) language plpgsql
set search_path = textback, pg_temp as $$
declare
    by_agent uuid;
    locked     record;
    is_there boolean;
begin
    perform lock_contact(from_number, to_contact);
    select agent_id into by_agent from number where id = from_number and project_id = of_project and detached_at is null;
    if not found then
        outcome := 'number_detached';
        return next;
        return;
    end if;
    if has_opted_out(from_number, to_contact) then
        outcome := 'contact_opted_out';
        return next;
        return;
    end if;
    if not country_is_allowed(of_project, to_contact, countries) then
        outcome := 'country_not_allowed';
        return next;
        return;
    end if;

    select id, handled_seq, status, engaged, inactivity_seconds(id) as inactivity_after,
           not engaged and started_at is null and origin = 'inbound' as is_idle into locked from session
     where number_id = from_number and contact = to_contact and channel = 'sms' and status <> 'closed'
       for update;
    is_there := found;
    if is_there and not locked.is_idle and on_active = 'reject' then
        outcome := 'session_active';
        session_id := locked.id;
        return next;
        return;
    end if;
    -- Counted before any change, so a message over a limit leaves the session as it is.
    select limits.code, limits.until_at into outcome, until_at from count_one_outbound(of_project, to_contact) limits;
    if outcome is not null then
        return next;
        return;
    end if;
    if is_there and locked.is_idle then
        -- The session has only keywords or messages without an answer, so this message begins the conversation.
        session_id := locked.id;
        update session set origin = 'outbound', begun_by_turn = by_turn, last_message_at = now(), warn_after_seconds = locked.inactivity_after
         where id = locked.id;
        perform enqueue_turn(new_turn, locked.id);
        perform plan_text(of_project, from_number, to_contact, session_id, saying, media, by_turn, new_message);
        outcome := 'sent';
        return next;
        return;
    end if;
    if is_there and on_active = 'join' then
        session_id := locked.id;
        update session
           set last_message_at = greatest(last_message_at, now()), warn_after_seconds = locked.inactivity_after,
               status = 'open', warned_at = null
         where id = locked.id;
        if locked.status = 'warned' then
            perform withdraw_stale_deliveries(from_number, to_contact, '{warning}');
        end if;
        if locked.engaged then
            perform schedule_inactivity(locked.id, locked.inactivity_after, false);
        end if;
    else
        if is_there then
            perform close_session(locked.id, 'superseded');
        end if;
        session_id := find_or_open_session(new_session, of_project, from_number, to_contact, 'sms', by_agent, 'outbound');
        update session set begun_by_turn = by_turn where id = session_id and by_turn is not null;
        if is_there then
            -- Messages that wait for an answer get it in the new session.
            perform move_waiting_messages(locked.id, locked.handled_seq, session_id);
        end if;
        -- The turn runs the start function.
        perform enqueue_turn(new_turn, session_id);
    end if;

    perform plan_text(of_project, from_number, to_contact, session_id, saying, media, by_turn, new_message);
    outcome := 'sent';
    return next;
end $$;
