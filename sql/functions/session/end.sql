-- Ends a session for an operator, if it is not closed. Messages that wait are skipped. It takes the
-- contact's lock.
create or replace function end_session(of_session uuid, for_reason text) returns void language plpgsql
set search_path = textback, pg_temp as $$
declare
    locked record;
begin
    select endpoint_id, contact into locked from session where id = of_session;
    if not found then
        return;
    end if;
    perform lock_contact(locked.endpoint_id, locked.contact);
    select handled_seq, status into locked from session where id = of_session for update;
    if locked.status = 'closed' then
        return;
    end if;
    update message set skip_reason = 'session_ended'
     where session_id = of_session and direction = 'inbound' and seq > locked.handled_seq and skip_reason is null;
    perform close_session(of_session, for_reason);
end $$;
