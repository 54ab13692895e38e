-- The sequences that order messages and consents are never behind the newest rows. Logical
-- replication does not copy sequences: on a promoted replica with old sequences, new messages would
-- count as handled.
create or replace view invariant_12_what_is_drawn_next_is_new as
select 'message' as what, newest.seq, drawn.last_value
  from (select max(seq) as seq from (select seq from message order by id desc limit 1000) latest) newest, message_seq_seq drawn
 where newest.seq > drawn.last_value
union all
select 'consent', newest.seq, drawn.last_value
  from (select max(seq) as seq from (select seq from consent order by id desc limit 1000) latest) newest, consent_seq_seq drawn
 where newest.seq > drawn.last_value
