-- Every outbound message of a channel with segments has its delivery. A message that an agent made
-- names its turn.
create or replace view invariant_05_a_reply_has_its_turn_and_its_delivery as
select message.id as message_id, message.session_id, message.turn_id, delivery.id as delivery_id
  from message
  left join delivery on delivery.id = message.id
 where message.direction = 'outbound'
   and ((message.turn_id is null and message.kind not in ('text', 'warning', 'closing', 'help', 'opt_out', 'opt_in')) or (delivery.id is null and message.segments is not null)
        or delivery.session_id <> message.session_id or delivery.seq <> message.seq)
