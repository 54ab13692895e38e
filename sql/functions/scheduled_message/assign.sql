-- Gives a scheduled message, which is due and locked, the number that was chosen for it, and locks
-- that number and the contact without waiting. Returns whether it got the lock; if not, the message
-- stays as it is.
create or replace function assign_scheduled_message(of_message uuid, to_number uuid, of_contact text) returns boolean language plpgsql
set search_path = textback, pg_temp as $$
begin
    if not try_lock_contact(to_number, of_contact) then
        return false;
    end if;
    update scheduled_message set number_id = to_number where id = of_message and number_id <> to_number;
    return true;
end $$;
