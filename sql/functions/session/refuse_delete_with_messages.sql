-- Refuses to delete a session that still has messages: the other side of
-- refuse_message_without_a_session.
create or replace function refuse_to_delete_a_session_with_messages() returns trigger language plpgsql
set search_path = textback, pg_temp as $$
declare
    referenced uuid;
begin
    select id into referenced from changed
     where (select message.id from message where message.session_id = changed.id limit 1) is not null
     limit 1;
    if found then
        raise foreign_key_violation
              using constraint = 'message_belongs_to_a_session', table = 'message',
                    message = 'the session ' || referenced || ' still has messages';
    end if;
    return null;
end $$;

create or replace trigger session_of_a_message_stays after delete on session
    referencing old table as changed for each statement execute function refuse_to_delete_a_session_with_messages();
