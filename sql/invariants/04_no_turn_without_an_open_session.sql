-- A turn belongs to a session that exists and is not closed. A message waits in that session, or
-- the session has not started. A write with an old token would break this.
create or replace view invariant_04_no_turn_without_an_open_session as
select turn.id as turn_id, turn.session_id, session.status
  from turn
  left join session on session.id = turn.session_id
 where session.id is null or session.status = 'closed'
    or (session.started_at is not null
        and not exists (
            select 1 from message
             where message.session_id = session.id and message.direction = 'inbound' and message.skip_reason is null and message.seq > session.handled_seq))
