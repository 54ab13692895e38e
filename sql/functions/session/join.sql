-- Adds a text of the project to a session that is not closed. The caller holds the contact's lock,
-- has locked the session's row, and writes the message. withdraws_warning: the contact was warned,
-- and the warning may be planned still. brings_inactivity_forward: the session's job must not come
-- later than the agent's time says.
create or replace function join_session(of_session uuid, withdraws_warning boolean, brings_inactivity_forward boolean)
returns void language plpgsql
set search_path = textback, pg_temp as $$
declare
    inactivity_after integer := inactivity_seconds(of_session);
begin
    update session
       set last_message_at = greatest(last_message_at, now()), warn_after_seconds = inactivity_after,
           status = 'open', warned_at = null
     where id = of_session;
    if withdraws_warning then
        perform withdraw_stale_deliveries(session.endpoint_id, session.contact, '{warning}') from session where session.id = of_session;
    end if;
    if brings_inactivity_forward then
        perform schedule_inactivity(of_session, inactivity_after, false);
    end if;
end $$;
