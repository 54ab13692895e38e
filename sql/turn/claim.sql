-- Claims turns that are due and nobody holds ($1 at most), for $2 seconds under the token $3, and
-- reads all that the agent needs with them.
--
-- The attempt is counted here, before the agent runs, so that a text which kills its worker is
-- counted too. A message that is not in this statement's snapshot has a higher seq than
-- those that are (seq is drawn under the session's row lock): the settling turn finds it.
with due as (
    select turn.session_id from turn
     where turn.due_at <= now() and (turn.leased_until is null or turn.leased_until < now())
     order by turn.due_at
     limit $1
       for update skip locked
), claimed as (
    update turn
       set lease_token = $3, leased_until = now() + make_interval(secs => $2), attempts = turn.attempts + 1
      from due
     where turn.session_id = due.session_id
    returning turn.id, turn.session_id, turn.lease_token, turn.attempts, turn.due_at
)
select claimed.id as turn_id,
       session.id as session_id,
       session.project_id,
       session.number_id,
       number.number,
       session.contact,
       session.channel,
       claimed.lease_token as token,
       claimed.attempts as attempt,
       session.agent_id,
       session.agent_version,
       session.started_at is not null as started,
       session.state,
       session.language,
       session.handled_seq,
       coalesce(waiting.messages, '[]') as waiting,
       coalesce(past.messages, '[]') as history
  from claimed
  join session on session.id = claimed.session_id
  join number on number.id = session.number_id
  left join lateral (
      select jsonb_agg(jsonb_build_object('id', m.id, 'seq', m.seq, 'text', m.body) order by m.seq) as messages
        from message m
       where m.session_id = session.id and m.seq > session.handled_seq and m.skip_reason is null and m.direction = 'inbound'
  ) waiting on true
  left join lateral (
      select jsonb_agg(jsonb_build_object('direction', m.direction, 'text', m.body) order by m.seq) as messages
        from (select seq, direction, body from message
               where session_id = session.id and (seq <= session.handled_seq or direction = 'outbound')
               order by seq desc limit 50) m
  ) past on true
 order by claimed.due_at
