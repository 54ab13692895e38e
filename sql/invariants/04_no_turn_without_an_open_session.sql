-- Only a session that is there and not closed has a turn, and the turn has something to do: a message that waits, or a session
-- that has not begun. What a stale token would write, it would write here.
create or replace view invariant_04_no_turn_without_an_open_session as
select turn.id as turn_id, turn.session_id, session.status
  from turn
  left join session on session.id = turn.session_id
 where session.id is null or session.status = 'closed'
    or (session.started_at is not null
        and not exists (
            select 1 from message
             where message.session_id = session.id and message.direction = 'inbound' and message.skip_reason is null and message.seq > session.handled_seq))
