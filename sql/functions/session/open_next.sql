-- Opens the session after one that a turn has closed: inbound messages after a seq, which the turn
-- did not know of, move to it and get a turn. The caller holds the contact's lock.
create or replace function open_next_session(closed_session uuid, after_seq bigint, new_session uuid, new_turn uuid) returns void
language plpgsql
set search_path = textback, pg_temp as $$
declare
    closed  record;
    next_id uuid;
begin
    select session.project_id, session.endpoint_id, session.contact, session.agent_id, session.channel into closed
      from session where session.id = closed_session;
    next_id := find_or_open_session(new_session, closed.project_id, closed.endpoint_id, closed.contact, closed.channel,
                                    closed.agent_id, 'inbound');
    perform move_waiting_messages(closed_session, after_seq, next_id);
    perform enqueue_turn(new_turn, next_id);
end $$;
