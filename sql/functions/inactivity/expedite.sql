-- Makes the inactivity job of a session due at once, because its warning (a delivery) can't be
-- delivered.
create or replace function expedite_inactivity(of_delivery uuid) returns void language plpgsql
set search_path = textback, pg_temp as $$
begin
    update inactivity set due_at = now()
      from delivery join message on message.id = delivery.id
     where delivery.id = of_delivery and message.kind = 'warning'
       and inactivity.session_id = delivery.session_id;
end $$;
