-- Moves inbound messages after a seq that still wait from a session that ends to the next one. The
-- caller holds the contact's lock.
create or replace function move_waiting_messages(from_session uuid, after_seq bigint, to_session uuid) returns void language plpgsql
set search_path = textback, pg_temp as $$
begin
    update message set session_id = to_session
     where session_id = from_session and direction = 'inbound' and skip_reason is null and seq > after_seq;
    if found then
        update session set engaged = true where id = to_session;
        perform schedule_inactivity(to_session, inactivity_seconds(to_session), true);
    end if;
end $$;
