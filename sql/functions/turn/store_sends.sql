-- Stores the messages that turns send outside their answers, as scheduled messages that are due at
-- once. A refused one is stored with its reason. sends: [{message_id, project_id, turn_id,
-- number_id, number, pool_id, contact, countries, body, refused}]; number: null for the number of
-- the turn's session (number_id); pool_id: one of its numbers is chosen when the message is sent.
create or replace function store_sends(sends jsonb) returns void language plpgsql
set search_path = textback, pg_temp as $$
declare
    -- A variable, because a distributed table refuses now() inside case and coalesce.
    this_time timestamptz := now();
begin
    insert into scheduled_message (id, project_id, number_id, pool_id, contact, countries, body, on_active_session, heeds_quiet_hours,
                                   turn_id, send_at, due_at, refusal_reason)
    select send.message_id, send.project_id, coalesce(number.id, send.number_id), send.pool_id, send.contact, send.countries, send.body,
           'join', false, send.turn_id, this_time,
           case when send.refused is null and (send.number is null or number.id is not null) then this_time end,
           coalesce(send.refused, case when send.number is not null and number.id is null then 'number_detached' end)
      from jsonb_to_recordset(sends) as send (message_id uuid, project_id uuid, turn_id uuid, number_id uuid, number text,
                                              pool_id text, contact text, countries text[], body text, refused text)
      left join (number join endpoint on endpoint.id = number.id and endpoint.detached_at is null)
             on number.project_id = send.project_id and number.number = send.number;
end $$;
