-- Claims at most $1 due turns that no worker holds, for $10 seconds under the token $11, with
-- everything that the agent needs. Agents: none of $2, of those in $3 at most as many as $4 says,
-- $5 of each other agent. Projects: none of $6, of those in $7 at most as many as $8 says, $9 of
-- each other project. If $12 is not null, only turns of these sessions.
--
-- The attempt is counted here, before the agent runs, so that a text which kills its worker is
-- counted too. What the turn answers is fixed by its first claim: an agent that is asked again is
-- asked the same, or an answer that it remembers would pass for one to texts it never saw. A
-- message that is not in this statement's snapshot has a higher seq than those that are (seq is
-- drawn under the contact's lock): the settling turn finds it.
with waiting_turn as (
    select turn.ctid as row_ctid, turn.agent_id, turn.project_id, turn.due_at from turn
     where turn.due_at <= now() and (turn.leased_until is null or turn.leased_until < now())
       and turn.agent_id <> all ($2) and turn.project_id <> all ($6) and ($12::uuid[] is null or turn.session_id = any ($12))
     order by turn.due_at
     limit $1
       for update skip locked
), listed as (
    select array_agg(row_ctid order by due_at) as ctids, array_agg(agent_id order by due_at) as agents,
           array_agg(project_id order by due_at) as projects
      from waiting_turn
), of_agents as (
    select array_agg(listed.ctids[ordinal] order by ordinal) as ctids,
           array_agg(listed.projects[ordinal] order by ordinal) as projects
      from listed, within_quotas(listed.agents, $3, $4, $5) as ordinal
), due as (
    select of_agents.ctids[ordinal] as row_ctid from of_agents, within_quotas(of_agents.projects, $7, $8, $9) as ordinal
), claimed as (
    update turn
       set lease_token = $11, leased_until = now() + make_interval(secs => $10), attempts = turn.attempts + 1,
           seen_seq = coalesce(turn.seen_seq, (
               select max(seq) from message
                where message.session_id = turn.session_id and direction = 'inbound' and skip_reason is null), 0)
      from due
     -- By its place, since it is locked: a plan that was made while few turns waited would read all
     -- of them for each. One that was put off or given back at this very moment has moved; it stays
     -- due, and the next claim has it.
     where turn.ctid = due.row_ctid
    returning turn.id, turn.session_id, turn.lease_token, turn.attempts, turn.failures, turn.due_at, turn.seen_seq, turn.created_at
)
select claimed.id as turn_id,
       session.id as session_id,
       session.project_id,
       session.endpoint_id,
       session.origin as "origin: _",
       session.begun_by_turn is not null as "begun_by_agent!",
       coalesce(number.number, session.endpoint_id::text) as "address!",
       session.contact,
       session.channel as "channel: _",
       claimed.lease_token as "token!",
       claimed.attempts as attempt,
       claimed.failures,
       claimed.created_at,
       now() as "claimed_at!",
       session.agent_id,
       session.agent_version,
       session.environment as "environment: _",
       session.started_at is not null as "started!",
       session.state as "state: _",
       session.language,
       session.handled_seq,
       extract(epoch from now() - waiting.oldest)::float8 as "text_since: _",
       coalesce(waiting.messages, '[]') as "waiting!: _",
       coalesce(past.messages, '[]') as "history!: _"
  from claimed
  -- Each by "limit 1", for the same reason.
 cross join lateral (select * from session where session.id = claimed.session_id limit 1) session
  left join lateral (select number.number from number where number.id = session.endpoint_id limit 1) number on true
 cross join lateral (
      select reads_history from agent_version
       where agent_version.agent_id = session.agent_id and agent_version.version = session.agent_version
       limit 1) agent_version
  left join lateral (
      select jsonb_agg(jsonb_build_object('id', m.id, 'seq', m.seq, 'text', m.body, 'media', coalesce((
               select jsonb_agg(jsonb_build_object('id', id, 'url', url, 'content_type', content_type, 'bytes', bytes) order by position)
                 from attachment where message_id = m.id), '[]'))
                       order by m.seq) as messages,
             min(m.created_at) as oldest
        -- At most a hundred, each with its media. The next turn gets the others.
        from (select id, seq, body, created_at from message
               where session_id = session.id and seq > session.handled_seq and seq <= claimed.seen_seq
                 and skip_reason is null and direction = 'inbound'
               order by seq limit 100) m
  ) waiting on true
  left join lateral (
      select jsonb_agg(jsonb_build_object('direction', m.direction, 'text', m.body, 'at', m.created_at) order by m.seq) as messages
        from (select seq, direction, body, created_at from message
               where agent_version.reads_history and session_id = session.id and kind not in ('keyword', 'help', 'opt_out', 'opt_in')
                 and (seq <= session.handled_seq or direction = 'outbound' or skip_reason is not null)
               order by seq desc limit 50) m
  ) past on true
 order by claimed.due_at
