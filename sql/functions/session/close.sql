-- Closes a session: deletes its turn and its inactivity job, and suppresses a warning that was not sent. The caller
-- holds the contact's lock and has locked the session's row.
create or replace function close_session(of_session uuid, for_reason text) returns void language plpgsql
set search_path = textback, pg_temp as $$
begin
    update session set status = 'closed', closed_at = now(), close_reason = for_reason where id = of_session;
    delete from turn where turn.session_id = of_session;
    delete from inactivity where inactivity.session_id = of_session;
    perform withdraw_stale_deliveries(session.endpoint_id, session.contact, '{warning}')
       from session where session.id = of_session and warned_at is not null;
end $$;
