-- Settles the turns of a batch that most are like, in one statement: the token holds, the session goes on, nothing is
-- skipped or sent elsewhere, and the number may send. settle_turns handles the others one by one. The caller holds the
-- locks of all contacts.
-- If a turn asks for it, its first message is claimed at once, under send_token for send_seconds: nothing to the
-- contact waits before it, and an opt-out would have deleted the turn.
create or replace function settle_turns_fast_path(turns turn_outcome[])
returns table (ordinal integer, planned integer, more_work boolean, leaving boolean, session_id uuid, next_turn_id uuid)
language plpgsql
set search_path = textback, pg_temp as $$
declare
    -- A variable, because a distributed table refuses now() inside case and coalesce.
    this_time timestamptz := now();
    first_step jsonb := delivery_step('sending', null, null, null, null);
    -- As in ingest_fast_path.
    seqs bigint[] := array(select nextval('message_seq_seq') from unnest(turns) t, unnest(t.message_ids));
begin
    return query
    with found as (
        select t.*, session.row_ctid, session.project_id, session.started_at, current.warn_after_seconds as inactivity_after,
               session.warn_after_seconds as inactivity_after_before, cardinality(t.message_ids) as planned,
               t.send_token is not null
               -- A scalar subquery, because "exists" may be planned as a join that reads all deliveries that wait.
               and (select earlier.seq from delivery earlier
                     where earlier.number_id = t.number_id and earlier.contact = t.contact and earlier.due_at is not null
                     limit 1) is null as leaves
          from unnest(turns) t
         -- Each row is looked up by its index, as in ingest_fast_path.
         cross join lateral (
               select ctid as row_ctid, id, project_id, agent_id, started_at, warn_after_seconds from session where session.id = t.session_id limit 1 for update) session
         cross join lateral (
               select turn.id from turn
                where turn.session_id = t.session_id and turn.id = t.turn_id and turn.lease_token = t.token
                limit 1 for update) turn
          join number on number.id = t.number_id
          join agent on agent.id = session.agent_id
          join agent_version current on current.agent_id = agent.id and current.version = agent.current_version
         where t.close_reason is null and t.skip_reason is null and t.sends is null and number.send_policy = 'open'
    ), fast_path as (
        -- By the ctid, as in ingest_fast_path; a row that has moved is left to settle_turns.
        update session
           set state = coalesce(found.state::session_state, session.state), language = found.language, handled_seq = found.seen_seq,
               started_at = case when found.started then coalesce(found.started_at, this_time) else found.started_at end,
               last_message_at = case when found.planned > 0 then greatest(last_message_at, this_time) else last_message_at end,
               warn_after_seconds = case when found.planned > 0 then found.inactivity_after else warn_after_seconds end,
               status = case when found.planned > 0 then 'open' else status end,
               warned_at = case when found.planned > 0 then null else warned_at end
          from found where session.ctid = found.row_ctid
        returning found.*
    ), said as (
        select reply.*, seqs[row_number() over (order by fast_path.ordinal, reply.ordinal)] as seq, fast_path.project_id, fast_path.session_id, fast_path.number_id, fast_path.contact,
               fast_path.turn_id, fast_path.send_token, fast_path.send_seconds, fast_path.leaves and reply.ordinal = 1 as leaving,
               case when reply.ordinal = fast_path.planned then fast_path.truncated end as truncated
          from fast_path
         cross join lateral unnest(fast_path.message_ids, fast_path.kinds, fast_path.bodies) with ordinality as reply (message_id, kind, body, ordinal)
    ), written as (
        insert into message (id, seq, project_id, session_id, direction, kind, body, turn_id, truncated) overriding system value
        select said.message_id, said.seq, said.project_id, said.session_id, 'outbound', said.kind, said.body, said.turn_id, said.truncated
          from said
    ), delivered as (
        insert into delivery (id, project_id, session_id, number_id, contact, seq, status, due_at,
                              lease_token, leased_until, attempts, attempted_at, history)
        select said.message_id, said.project_id, said.session_id, said.number_id, said.contact, said.seq,
               case when said.leaving then 'sending' else 'planned' end, now(),
               case when said.leaving then said.send_token end,
               case when said.leaving then this_time + make_interval(secs => said.send_seconds) end,
               said.leaving::integer, case when said.leaving then this_time end,
               case when said.leaving then first_step else '[]' end
          from said
    ), armed as (
        update inactivity set due_at = now() + make_interval(secs => rescheduled.inactivity_after)
          from (select job.row_ctid, fast_path.inactivity_after
                  from fast_path
                 cross join lateral (
                       select ctid as row_ctid from inactivity
                        where inactivity.session_id = fast_path.session_id and inactivity.due_at > now() + make_interval(secs => fast_path.inactivity_after)
                        limit 1) job
                 -- As in ingest_fast_path.
                 where fast_path.planned > 0 and (fast_path.inactivity_after < fast_path.inactivity_after_before or fast_path.inactivity_after < 60)) rescheduled
         where inactivity.ctid = rescheduled.row_ctid
    ), done as (
        -- By an array, because a join that was planned while few turns waited would read all of them. Not by the ctid, because
        -- a lease that was renewed right now has moved the row out of this statement's snapshot.
        delete from turn where turn.session_id = any (array(select fast_path.session_id from fast_path))
    )
    -- Messages that came while the agent ran are not covered by its answer.
    select fast_path.ordinal, fast_path.planned,
           exists (select from message
                    where message.session_id = fast_path.session_id and direction = 'inbound' and skip_reason is null
                      and seq > fast_path.seen_seq),
           fast_path.leaves, fast_path.session_id, fast_path.next_turn_id
      from fast_path;
end $$;
