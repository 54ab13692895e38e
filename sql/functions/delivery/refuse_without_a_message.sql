-- Refuses deliveries without a message. It replaces a foreign key, as
-- refuse_message_without_a_session does. The statement or transaction that adds a delivery has
-- added its message too. docs/decisions/011-references-checked-per-statement.md has the reasons.
create or replace function refuse_delivery_without_a_message() returns trigger language plpgsql
set search_path = textback, pg_temp as $$
declare
    orphan uuid;
begin
    select id into orphan from changed
     where (select message.id from message where message.id = changed.id limit 1) is null
     limit 1;
    if found then
        raise foreign_key_violation
              using constraint = 'delivery_belongs_to_a_message', table = 'delivery',
                    message = 'a delivery would belong to the message ' || orphan || ', which does not exist';
    end if;
    return null;
end $$;

create or replace trigger delivery_belongs_to_a_message after insert on delivery
    referencing new table as changed for each statement execute function refuse_delivery_without_a_message();
