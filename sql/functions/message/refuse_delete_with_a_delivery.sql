-- Refuses to delete a message that still has a delivery: the other side of
-- refuse_delivery_without_a_message.
create or replace function refuse_to_delete_a_message_with_a_delivery() returns trigger language plpgsql
set search_path = textback, pg_temp as $$
declare
    referenced uuid;
begin
    select id into referenced from changed
     where (select delivery.id from delivery where delivery.id = changed.id limit 1) is not null
     limit 1;
    if found then
        raise foreign_key_violation
              using constraint = 'delivery_belongs_to_a_message', table = 'delivery',
                    message = 'the message ' || referenced || ' still has a delivery';
    end if;
    return null;
end $$;

create or replace trigger message_of_a_delivery_stays after delete on message
    referencing old table as changed for each statement execute function refuse_to_delete_a_message_with_a_delivery();
