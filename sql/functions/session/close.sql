-- Closes a session: ends its turn as cancelled, deletes its inactivity job, and suppresses a
-- warning that was not sent. The caller holds the contact's lock and has locked the session's row.
-- was_due_at: when the end of one that times out was due.
create or replace function close_session(of_session uuid, for_reason text, was_due_at timestamptz default null)
returns void language plpgsql
set search_path = textback, pg_temp as $$
begin
    update session set status = 'closed', closed_at = now(), close_reason = for_reason, end_was_due_at = was_due_at where id = of_session;
    with cancelled as (
        delete from turn where turn.session_id = of_session
        returning turn.id, turn.project_id, turn.attempts, turn.failures, turn.created_at
    )
    insert into turn_without_message (id, project_id, session_id, attempts, failures, outcome, created_at)
    select cancelled.id, cancelled.project_id, of_session, cancelled.attempts, cancelled.failures, 'cancelled', cancelled.created_at
      from cancelled;
    delete from inactivity where inactivity.session_id = of_session;
    perform withdraw_stale_deliveries(session.endpoint_id, session.contact, '{warning}')
       from session where session.id = of_session and warned_at is not null;
end $$;
