-- Makes a week of conversations of the few that a test had: copies of its sessions with other
-- contacts, at other times. More by day than by night. Some turns failed, some deliveries too, some
-- sessions timed out, and some contacts opted out.
begin;
set local search_path = textback;
set local session_replication_role = replica;
create temp table copy as
    select session.id as old, gen_random_uuid() as id, '+1415555' || lpad((2000 + row_number() over ())::text, 4, '0') as contact,
           make_interval(hours => hour, mins => (random() * 59)::integer) as back, random() as lot
      from session, generate_series(2, 168) hour, generate_series(1, 2)
     where random() < 0.15 + 0.85 * (1 + cos((hour - 6) * pi() / 12)) / 2;
create temp table copied_message as
    select message.id as old, gen_random_uuid() as id, copy.id as session_id, copy.back, copy.lot, copy.contact,
           row_number() over (order by random()) as n
      from message join copy on copy.old = message.session_id;
insert into session overriding system value
select (jsonb_populate_record(session, jsonb_build_object(
           'id', copy.id, 'contact', copy.contact, 'status', 'closed', 'opened_at', session.opened_at - copy.back,
           'last_message_at', session.last_message_at - copy.back, 'closed_at', session.last_message_at - copy.back + copy.lot * interval '30 minutes',
           'close_reason', case when copy.lot between 0.2 and 0.55 then 'timed_out' when copy.lot < 0.85 then 'agent_ended' when copy.lot < 0.92 then 'opted_out' else 'superseded' end,
           'handled_seq', 9000000000, 'warned_at', case when copy.lot < 0.55 then session.last_message_at - copy.back + copy.lot * interval '20 seconds' end,
           'previous_session_id', case when copy.lot between 0.2 and 0.5 then session.id end,
           'origin', case when copy.lot > 0.8 then 'outbound' else 'inbound' end,
           'engaged', copy.lot < 0.95))).*
  from copy join session on session.id = copy.old;
insert into message overriding system value
select (jsonb_populate_record(message, jsonb_build_object(
           'id', copied_message.id, 'session_id', copied_message.session_id, 'created_at', message.created_at - copied_message.back,
           'seq', nextval('message_seq_seq'), 'carrier_id', case when message.carrier_id is not null then 'SM' || md5(copied_message.id::text) end,
           'turn_id', case when message.turn_id is not null then gen_random_uuid() end,
           'kind', case when message.turn_created_at is not null and copied_message.n % 23 = 0 then 'error' else message.kind end,
           'turn_error_code', case when message.turn_created_at is not null and copied_message.n % 23 = 0
                                   then (array['failed', 'over_limit', 'worker_lost'])[1 + copied_message.n % 3] end,
           'encoding', case when copied_message.n % 6 = 0 then 'ucs2' else message.encoding end,
           'segments', message.segments + copied_message.n % 3,
           'turn_created_at', message.turn_created_at - copied_message.back - copied_message.lot ^ 6 * interval '20 seconds'))).*
  from copied_message join message on message.id = copied_message.old;
insert into message (id, project_id, session_id, direction, kind, body, encoding, segments, inactivity_seconds, created_at)
select gen_random_uuid(), session.project_id, session.id, 'outbound', 'warning', 'Are you still there?', 'gsm7', 1, 1,
       session.last_message_at + interval '1 second' + copy.lot * interval '40 seconds'
  from copy join session on session.id = copy.id
 where copy.lot < 0.55;
update session set end_was_due_at = closed_at - random() * interval '30 seconds' where close_reason = 'timed_out';
insert into delivery
select (jsonb_populate_record(delivery, jsonb_build_object(
           'id', copied_message.id, 'session_id', copied_message.session_id, 'contact', copied_message.contact, 'due_at', null,
           'carrier_id', 'SM' || md5('d' || copied_message.id), 'created_at', delivery.created_at - copied_message.back,
           'attempted_at', delivery.attempted_at - copied_message.back, 'accepted_at', delivery.accepted_at - copied_message.back,
           'updated_at', delivery.updated_at - copied_message.back + copied_message.lot ^ 3 * interval '40 seconds',
           'status', case when copied_message.n % 17 = 0 then 'failed' when copied_message.n % 41 = 0 then 'sent' else 'delivered' end,
           'error_code', case when copied_message.n % 17 = 0 then (array[30003, 30005, 30006])[1 + copied_message.n % 3] end,
           'error_class', case when copied_message.n % 17 = 0 then (array['unreachable', 'unreachable', 'landline'])[1 + copied_message.n % 3] end))).*
  from copied_message join delivery on delivery.id = copied_message.old;
update delivery set seq = message.seq from message where message.id = delivery.id and delivery.seq <> message.seq;
insert into delivery (id, project_id, session_id, number_id, contact, seq, status, attempts, carrier_id, history, created_at, accepted_at, updated_at)
select message.id, message.project_id, message.session_id, session.endpoint_id, session.contact, message.seq, 'delivered', 1,
       'SM' || md5('w' || message.id), '[]', message.created_at, message.created_at + interval '1 second', message.created_at + interval '3 seconds'
  from message join session on session.id = message.session_id
 where message.kind = 'warning';
-- Some answered the warning.
insert into message (id, project_id, session_id, direction, kind, body, encoding, segments, carrier_id, created_at)
select gen_random_uuid(), session.project_id, session.id, 'inbound', 'text', 'still here', 'gsm7', 1, 'SM' || md5('r' || session.id),
       session.warned_at + copy.lot * interval '10 minutes'
  from copy join session on session.id = copy.id
 where copy.lot < 0.2;
insert into consent (id, project_id, endpoint_id, contact, kind, source, recorded_at)
select gen_random_uuid(), session.project_id, session.endpoint_id, session.contact, case when copy.lot < 0.9 then 'opted_out' else 'opted_in' end, 'keyword', session.closed_at
  from copy join session on session.id = copy.id
 where copy.lot between 0.85 and 0.92;
insert into quarantine (id, project_id, kind, reason, form, received_at)
select gen_random_uuid(), session.project_id, case when copy.lot > 0.97 then 'status' else 'inbound' end, 'number_not_attached', 'Body=hi', session.opened_at
  from copy join session on session.id = copy.id
 where copy.lot > 0.93;
-- All hours are counted again, because no trigger saw these rows.
delete from rollup_progress;
insert into rollup_progress default values;
commit;
