-- Stores the messages of a batch that most are like, in one statement, which costs a third of one after the other: the
-- first of its contact in the batch, in a session that is open and engaged, without attachments, keyword or exceeded
-- limit. ingest handles the others one by one. The caller holds the locks of all contacts of these numbers.
-- A turn of the agent that the message names is claimed at once, under begin_token for begin_seconds. It answers this
-- message alone, because a session without a turn has no other message that waits. An agent that reads the history
-- waits for a claim, which loads it.
create or replace function ingest_fast_path(texts incoming_text[], numbers uuid[], begin_token uuid, begin_seconds double precision)
returns table (ordinal integer, message_id uuid, session_id uuid, agent_id uuid, begun_at timestamptz, seq bigint, number_id uuid,
               origin text, begun_by_agent boolean, agent_version integer, started boolean, state jsonb, language text, handled_seq bigint)
language plpgsql
set search_path = textback, pg_temp as $$
declare
    -- A variable, because a distributed table refuses now() inside case and coalesce.
    this_time timestamptz := now();
    -- Drawn before the inserts, so no join with the inserted rows is needed. The contacts' locks keep the order.
    seqs      bigint[] := array(select nextval('message_seq_seq') from unnest(texts));
begin
    return query
    with found as (
        -- "limit 1" and the ctid below force a look-up of each row. A join that was planned while there were few sessions
        -- would read all of them for each batch later.
        select t.ordinal, t.project_id, t.message_id, t.turn_id, t.body, t.carrier_sid, number.id as number_id, session.row_ctid,
               session.id as session_id, session.agent_id, session.agent_version, session.origin::text, session.begun_by_turn, session.started_at,
               session.state::jsonb, session.language, session.handled_seq,
               current.warn_after_seconds as inactivity_after, session.warn_after_seconds as inactivity_after_before, running.debounce_seconds,
               t.agent_id = session.agent_id and running.debounce_seconds = 0 and not running.reads_history
               and (select turn.id from turn where turn.session_id = session.id limit 1) is null as begins
          from (select distinct on (t.project_id, t."to", t."from") t.* from unnest(texts) t
                 order by t.project_id, t."to", t."from", t.ordinal) t
          join project on project.id = t.project_id
          join number on number.project_id = t.project_id and number.number = t."to" and number.detached_at is null
                     and number.id = any (numbers)
         cross join lateral (
               select ctid as row_ctid, session.* from session
                where session.project_id = t.project_id and session.number_id = number.id and session.contact = t."from"
                  and session.channel = 'sms' and session.status <> 'closed'
                limit 1 for update) session
          join agent on agent.id = session.agent_id
          join agent_version current on current.agent_id = agent.id and current.version = agent.current_version
          join agent_version running on running.agent_id = session.agent_id and running.version = session.agent_version
         where t.reason is null and t.keyword is null and t.media is null
           -- An opt-out closes the session, so an engaged session is of nobody who opted out (invariant 7).
           and session.status = 'open' and session.engaged
           and project.texts_per_project_per_minute = 0
           and (project.repeats_in_five_minutes = 0 and project.texts_per_contact_per_minute = 0
                or rate_limit_reason(session.id, nullif(t.body, '')) is null)
           and (select message.seq from message
                 where message.project_id = t.project_id and message.carrier_sid = t.carrier_sid limit 1) is null
    ), fast_path as (
        -- A row that was changed between this statement's snapshot and its lock has another ctid than the snapshot, and is left
        -- to ingest.
        update session
           set last_message_at = greatest(last_message_at, now()), warn_after_seconds = found.inactivity_after
          from found where session.ctid = found.row_ctid
        returning found.*
    ), armed as (
        -- Only after the agent's time was made shorter, or where it is shorter than the minute by which decide_inactivity moves a
        -- job. Any other job comes early enough and moves itself.
        update inactivity set due_at = now() + make_interval(secs => rescheduled.inactivity_after)
          from (select job.row_ctid, fast_path.inactivity_after
                  from fast_path
                 cross join lateral (
                       select ctid as row_ctid from inactivity
                        where inactivity.session_id = fast_path.session_id and inactivity.due_at > now() + make_interval(secs => fast_path.inactivity_after)
                        limit 1) job
                 where fast_path.inactivity_after < fast_path.inactivity_after_before or fast_path.inactivity_after < 60) rescheduled
         where inactivity.ctid = rescheduled.row_ctid
    ), written as (
        insert into message (id, seq, project_id, session_id, direction, kind, body, carrier_sid) overriding system value
        select fast_path.message_id, seqs[fast_path.ordinal + 1], fast_path.project_id, fast_path.session_id, 'inbound', 'text', fast_path.body,
               fast_path.carrier_sid
          from fast_path
    ), marked as (
        insert into turn (id, session_id, project_id, agent_id, due_at, seen_seq, attempts, lease_token, leased_until)
        select fast_path.turn_id, fast_path.session_id, fast_path.project_id, fast_path.agent_id, now() + make_interval(secs => fast_path.debounce_seconds),
               case when fast_path.begins then seqs[fast_path.ordinal + 1] end, coalesce(fast_path.begins, false)::integer,
               case when fast_path.begins then begin_token end,
               case when fast_path.begins then this_time + make_interval(secs => begin_seconds) end
          from fast_path
        on conflict on constraint a_session_has_one_turn_at_a_time do nothing
    )
    select fast_path.ordinal, fast_path.message_id, fast_path.session_id, fast_path.agent_id, case when fast_path.begins then this_time end,
           seqs[fast_path.ordinal + 1], fast_path.number_id, fast_path.origin, fast_path.begun_by_turn is not null, fast_path.agent_version,
           fast_path.started_at is not null, case when fast_path.begins then fast_path.state end, fast_path.language, fast_path.handled_seq
      from fast_path;
end $$;
