-- Closes a session that can't be read, and skips its waiting messages. Its state moves to
-- quarantine, because otherwise lists of sessions could not be read either. The contact's next
-- message opens a new session. It takes the contact's lock. by_token: the caller's claim. Returns
-- false if another worker holds the turn.
create or replace function set_session_aside(of_session uuid, by_token uuid) returns boolean language plpgsql
set search_path = textback, pg_temp as $$
declare
    locked record;
begin
    select endpoint_id, contact into locked from session where id = of_session;
    if not found then
        delete from turn where turn.session_id = of_session;
        return found;
    end if;
    perform lock_contact(locked.endpoint_id, locked.contact);
    select handled_seq, status into locked from session where id = of_session for update;
    perform from turn
      where turn.session_id = of_session and turn.leased_until >= now() and turn.lease_token is distinct from by_token;
    if found then
        return false;
    end if;
    if locked.status = 'closed' then
        -- A closed session has no jobs (invariants 4 and 9), so these are left over.
        delete from inactivity where inactivity.session_id = of_session;
        delete from turn where turn.session_id = of_session;
        return found;
    end if;
    update message set skip_reason = 'unreadable'
     where session_id = of_session and direction = 'inbound' and seq > locked.handled_seq and skip_reason is null;
    perform quarantine_session_state(of_session);
    update session set state = '{}' where id = of_session;
    perform close_session(of_session, 'unreadable');
    return true;
end $$;
