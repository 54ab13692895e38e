-- Deletes what is recorded of the turns without messages of a session that is deleted: they have no
-- foreign key.
create or replace function delete_turns_without_messages_of_a_session() returns trigger language plpgsql
set search_path = textback, pg_temp as $$
begin
    delete from turn_without_message where turn_without_message.session_id in (select id from changed);
    return null;
end $$;

create or replace trigger session_takes_its_turns_without_messages after delete on session
    referencing old table as changed for each statement execute function delete_turns_without_messages_of_a_session();
