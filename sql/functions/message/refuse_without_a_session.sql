-- Refuses messages without a session. It replaces a foreign key: it checks all rows of a statement
-- at once, while a foreign key checks row by row, which cost a tenth of a message. Whoever adds a
-- message has locked its session's row, so nobody can delete the session meanwhile.
create or replace function refuse_message_without_a_session() returns trigger language plpgsql
set search_path = textback, pg_temp as $$
declare
    orphan uuid;
begin
    select session_id into orphan from changed
     where (select session.id from session where session.id = changed.session_id limit 1) is null
     limit 1;
    if found then
        raise foreign_key_violation
              using constraint = 'message_belongs_to_a_session', table = 'message',
                    message = 'a message would belong to the session ' || orphan || ', which does not exist';
    end if;
    return null;
end $$;

create or replace trigger message_belongs_to_a_session after insert on message
    referencing new table as changed for each statement execute function refuse_message_without_a_session();

create or replace trigger message_still_belongs_to_a_session after update on message
    referencing new table as changed for each statement execute function refuse_message_without_a_session();
