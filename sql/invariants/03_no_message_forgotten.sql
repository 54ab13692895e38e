-- Every inbound message is handled, is skipped with a reason, or waits in a session that has a
-- turn.
create or replace view invariant_03_no_message_forgotten as
select message.id as message_id, message.session_id, message.created_at
  from message
  join session on session.id = message.session_id
 where message.direction = 'inbound'
   and message.seq > session.handled_seq
   and message.skip_reason is null
   and not exists (select 1 from turn where turn.session_id = message.session_id)
