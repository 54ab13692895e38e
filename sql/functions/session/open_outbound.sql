-- Opens a session for a text of the project, after it closed the one that is there (superseded, or
-- null). Messages that wait in that one for an answer get it in the new session. Returns the new
-- session. The caller holds the contact's lock.
create or replace function open_outbound_session(
    new_id uuid, of_project uuid, from_number uuid, to_contact text, on_channel text, by_agent uuid, superseded uuid
) returns uuid language plpgsql
set search_path = textback, pg_temp as $$
declare
    after_seq bigint;
begin
    if superseded is not null then
        select handled_seq into after_seq from session where id = superseded;
        perform close_session(superseded, 'superseded');
    end if;
    perform find_or_open_session(new_id, of_project, from_number, to_contact, on_channel, by_agent, 'outbound');
    if superseded is not null then
        perform move_waiting_messages(superseded, after_seq, new_id);
    end if;
    return new_id;
end $$;
