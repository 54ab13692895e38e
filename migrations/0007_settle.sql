-- Step 4 of the road: a turn's outcome becomes rows, all or nothing, and only for the worker
-- that still holds the token.

-- Closes a session and takes away its turn, its scheduled job and a warning that was not sent. The caller holds the
-- session's row.
create function close_session(of_session uuid, for_reason text) returns void language plpgsql
set search_path = textback, pg_temp as $$
begin
    update session set status = 'closed', closed_at = now(), close_reason = for_reason where id = of_session;
    delete from turn where turn.session_id = of_session;
    delete from silence where silence.session_id = of_session;
    perform withdraw_stale(session.number_id, session.contact, '{warning}') from session where session.id = of_session and warned_at is not null;
end $$;

-- Texts that came into a session after a seq and wait for an answer when it ends open the next one, and move there.
create function take_over_waiting(from_session uuid, after_seq bigint, to_session uuid) returns void language plpgsql
set search_path = textback, pg_temp as $$
begin
    update message set session_id = to_session
     where session_id = from_session and direction = 'inbound' and skip_reason is null and seq > after_seq;
    if found then
        update session set engaged = true where id = to_session;
        perform arm_silence(to_session, allowed_silence(to_session), true);
    end if;
end $$;

-- What a turn came to. ordinal: its place in the batch. state: null when it is what it was. message_ids, kinds, bodies: what it says.
-- sends: [{message_id, number, contact, countries, body, refused}] or null, the texts of send_sms. They become
-- scheduled messages that are due at once, and are sent after the turn. truncated: how many characters the turn's limit
-- cut. send_token: the worker wants to send the first text itself, under this token for send_seconds.
create type turn_outcome as (
    ordinal         integer,
    turn_id         uuid,
    session_id      uuid,
    number_id       uuid,
    contact         text,
    token           uuid,
    seen_seq        bigint,
    started         boolean,
    state           jsonb,
    language        text,
    close_reason    text,
    skip_reason     text,
    message_ids     uuid[],
    kinds           text[],
    bodies          text[],
    sends           jsonb,
    send_token      uuid,
    send_seconds    double precision,
    next_turn_id    uuid,
    next_session_id uuid,
    truncated       integer
);

-- Those turns of a batch that are like nearly all: their token holds, the session goes on, nothing is skipped or sent elsewhere, and
-- their number may send. In one statement for all of them; what is not answered here, settle_turns handles one by one.
-- Where a turn asks for it, its first text is claimed for its worker at once, under send_token for send_seconds: nothing of the
-- contact's waits before it, and who opted out before took the turn away. The caller holds the locks of all contacts.
create function settle_together(turns turn_outcome[])
returns table (ordinal integer, planned integer, more_work boolean, leaving boolean, session_id uuid, next_turn_id uuid)
language plpgsql
set search_path = textback, pg_temp as $$
declare
    -- A variable, because a distributed table refuses now() inside case and coalesce.
    this_time timestamptz := now();
    first_step jsonb := delivery_step('sending', null, null, null, null);
    -- As in take_in_together.
    seqs bigint[] := array(select nextval('message_seq_seq') from unnest(turns) t, unnest(t.message_ids));
begin
    return query
    with found as (
        select t.*, session.place, session.project_id, session.started_at, current.warn_after_seconds as silent_after,
               session.warn_after_seconds as silent_after_before, cardinality(t.message_ids) as planned,
               t.send_token is not null
               -- One row and not "exists", which may be answered for a whole batch by reading all that waits to be sent.
               and (select earlier.seq from delivery earlier
                     where earlier.number_id = t.number_id and earlier.contact = t.contact and earlier.due_at is not null
                     limit 1) is null as leaves
          from unnest(turns) t
         -- Each by its index, as in take_in_together.
         cross join lateral (
               select ctid as place, id, project_id, agent_id, started_at, warn_after_seconds from session where session.id = t.session_id limit 1 for update) session
         cross join lateral (
               select turn.id from turn
                where turn.session_id = t.session_id and turn.id = t.turn_id and turn.lease_token = t.token
                limit 1 for update) turn
          join number on number.id = t.number_id
          join agent on agent.id = session.agent_id
          join agent_version current on current.agent_id = agent.id and current.version = agent.current_version
         where t.close_reason is null and t.skip_reason is null and t.sends is null and number.sends = 'open'
    ), usual as (
        -- By its place, as in take_in_together; one that is not there any more is left to settle_turns.
        update session
           set state = coalesce(found.state::session_state, session.state), language = found.language, handled_seq = found.seen_seq,
               started_at = case when found.started then coalesce(found.started_at, this_time) else found.started_at end,
               last_message_at = case when found.planned > 0 then greatest(last_message_at, this_time) else last_message_at end,
               warn_after_seconds = case when found.planned > 0 then found.silent_after else warn_after_seconds end,
               status = case when found.planned > 0 then 'open' else status end,
               warned_at = case when found.planned > 0 then null else warned_at end
          from found where session.ctid = found.place
        returning found.*
    ), said as (
        select reply.*, seqs[row_number() over (order by usual.ordinal, reply.place)] as seq, usual.project_id, usual.session_id, usual.number_id, usual.contact,
               usual.turn_id, usual.send_token, usual.send_seconds, usual.leaves and reply.place = 1 as leaving,
               case when reply.place = usual.planned then usual.truncated end as truncated
          from usual
         cross join lateral unnest(usual.message_ids, usual.kinds, usual.bodies) with ordinality as reply (message_id, kind, body, place)
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
        update silence set due_at = now() + make_interval(secs => early.silent_after)
          from (select job.place, usual.silent_after
                  from usual
                 cross join lateral (
                       select ctid as place from silence
                        where silence.session_id = usual.session_id and silence.due_at > now() + make_interval(secs => usual.silent_after)
                        limit 1) job
                 -- As in take_in_together.
                 where usual.planned > 0 and (usual.silent_after < usual.silent_after_before or usual.silent_after < 60)) early
         where silence.ctid = early.place
    ), done as (
        -- By an array and not by a join: a plan that was made while few turns waited would read all of them for each of these. Not by
        -- their place: a lease that was renewed at this moment has moved the row, to where this statement's snapshot does not see.
        delete from turn where turn.session_id = any (array(select usual.session_id from usual))
    )
    -- What came while the agent was thinking is not covered by what it said.
    select usual.ordinal, usual.planned,
           exists (select from message
                    where message.session_id = usual.session_id and direction = 'inbound' and skip_reason is null
                      and seq > usual.seen_seq),
           usual.leaves, usual.session_id, usual.next_turn_id
      from usual;
end $$;

-- Answers one row a turn: settled (leaving tells whether the first text is claimed so), or stale when the token is no longer
-- the turn's. refused: for each of its messages that a limit suppressed, which one.
create function settle_turns(turns turn_outcome[])
returns table (ordinal integer, outcome text, planned integer, more_work boolean, leaving boolean, refused text[]) language plpgsql
-- As in take_in.
set plan_cache_mode = force_generic_plan
set lock_timeout = '1s'
set search_path = textback, pg_temp as $$
declare
    settling  record;
    held      record;
    reply     record;
    opened_id uuid;
    silent_after integer;
    going_on  uuid;
    next_id   uuid;
    done      integer[] := '{}';
    bounded   uuid[];
    bound     record;
    passing   text[];
    -- The turns that are counted as a whole, and those that don't fit as a whole.
    counted   integer[] := '{}';
    over      integer[] := '{}';
    why       text;
    -- A variable, because a distributed table refuses now() inside case and coalesce.
    this_time timestamptz := now();
begin
    -- The same order as take_in.
    perform pg_advisory_xact_lock(hashtextextended(contact.number_id::text || ' ' || contact.contact, 0))
       from (select t.number_id, t.contact from unnest(turns) t order by t.number_id, t.contact) contact;

    -- Where a project bounds what it sends, what a turn says is counted as a whole. One that does not fit goes by the loop below, message
    -- by message. By the numbers first: they are few, and where no project bounds anything this is all that it costs.
    bounded := array(
        select number.id
          from (select distinct t.number_id from unnest(turns) t) of_turns
         cross join lateral (select id, project_id from number where number.id = of_turns.number_id and number.sends <> 'blocked' limit 1) number
         cross join lateral (
               select project.id from project
                where project.id = number.project_id
                  and (project.outbound_per_contact_per_hour > 0 or project.outbound_per_contact_per_day > 0
                       or project.outbound_per_project_per_minute > 0 or project.outbound_per_project_per_day > 0)
                limit 1) project);
    if bounded <> '{}' then
        -- A project's rows are written once for all of its turns. In one order, since they are locked by this.
        for bound in
            select number.project_id, array_agg(t.ordinal) as ordinals, array_agg(t.contact) as contacts,
                   array_agg(cardinality(t.message_ids)) as mores
              from unnest(turns) t
             cross join lateral (select number.project_id from number where number.id = t.number_id limit 1) number
             where t.number_id = any (bounded) and cardinality(t.message_ids) > 0
               and t.close_reason is null and t.skip_reason is null and t.sends is null
             group by number.project_id
             order by number.project_id
        loop
            passing := count_outbound(bound.project_id, bound.contacts, bound.mores);
            counted := counted || array(select o from unnest(bound.ordinals, bound.contacts) as w (o, c) where c = any (passing));
            over := over || array(select o from unnest(bound.ordinals, bound.contacts) as w (o, c) where c <> all (passing));
        end loop;
    end if;

    for ordinal, planned, more_work, leaving, going_on, next_id in
        select * from settle_together(case when over = '{}' then turns else array(select t from unnest(turns) t where t.ordinal <> all (over)) end)
    loop
        if more_work then
            perform want_turn(next_id, going_on);
        end if;
        outcome := 'settled';
        done := done || ordinal;
        return next;
    end loop;
    if cardinality(done) = cardinality(turns) then
        return;
    end if;

    for settling in
        select t.* from unnest(turns) t
         where t.ordinal <> all (done)
         order by t.number_id, t.contact, t.ordinal
    loop
        ordinal := settling.ordinal;
        refused := null;
        if ordinal = any (counted) then
            -- Not settled as a whole: it is counted message by message, if at all.
            perform uncount_outbound((select s.project_id from session s where s.id = settling.session_id), settling.contact,
                                     cardinality(settling.message_ids), this_time);
        end if;
        outcome := 'stale';
        planned := 0;
        more_work := false;
        leaving := false;

        select s.id, s.project_id, s.handled_seq, s.started_at, s.agent_id into held
          from session s where s.id = settling.session_id for update;
        perform 1 from turn
          where turn.session_id = settling.session_id and turn.id = settling.turn_id and turn.lease_token = settling.token
            for update;
        if not found then
            return next;
            continue;
        end if;

        for reply in
            select m.* from unnest(settling.message_ids, settling.kinds, settling.bodies) with ordinality as m (message_id, kind, body, place)
        loop
            why := plan_message(
                reply.message_id, held.project_id, held.id, settling.number_id, settling.contact, reply.kind, reply.body, settling.turn_id, null,
                case when reply.place = cardinality(settling.message_ids) then settling.truncated end, false);
            if why is not null then
                refused := refused || why;
            end if;
            planned := planned + 1;
        end loop;
        if settling.sends is not null then
            insert into scheduled_message (id, project_id, number_id, contact, countries, body, on_active_session, heeds_quiet_hours,
                                           turn_id, send_at, due_at, refused)
            select send.message_id, held.project_id, coalesce(number.id, settling.number_id), send.contact, send.countries, send.body,
                   'join', false, settling.turn_id, now(),
                   case when send.refused is null and (send.number is null or number.id is not null) then this_time end,
                   coalesce(send.refused, case when send.number is not null and number.id is null then 'number_detached' end)
              from jsonb_to_recordset(settling.sends)
                   as send (message_id uuid, number text, contact text, countries text[], body text, refused text)
              left join number on number.project_id = held.project_id and number.number = send.number and number.detached_at is null;
        end if;

        if settling.skip_reason is not null then
            update message set skip_reason = settling.skip_reason
             where message.session_id = held.id and direction = 'inbound' and skip_reason is null
               and seq > held.handled_seq and seq <= settling.seen_seq;
        end if;

        silent_after := allowed_silence(held.id);
        update session
           set state = coalesce(settling.state::session_state, state),
               language = settling.language,
               handled_seq = settling.seen_seq,
               started_at = case when settling.started then coalesce(held.started_at, this_time) else held.started_at end,
               last_message_at = case when planned > 0 then greatest(last_message_at, this_time) else last_message_at end,
               warn_after_seconds = case when planned > 0 then silent_after else warn_after_seconds end,
               status = case when planned > 0 then 'open' else status end,
               warned_at = case when planned > 0 then null else warned_at end
         where id = held.id;
        if planned > 0 then
            perform arm_silence(held.id, silent_after, false);
        end if;
        delete from turn where turn.session_id = held.id;

        -- What came while the agent was thinking is not covered by what it said.
        more_work := exists (
            select 1 from message
             where message.session_id = held.id and direction = 'inbound' and skip_reason is null and seq > settling.seen_seq);

        if settling.close_reason is not null then
            perform close_session(held.id, settling.close_reason);
            if more_work then
                -- They were committed into a session that ends here: they open the next one.
                opened_id := find_or_open_session(settling.next_session_id, held.project_id, settling.number_id,
                                                  settling.contact, 'sms', held.agent_id, 'inbound');
                perform take_over_waiting(held.id, settling.seen_seq, opened_id);
                perform want_turn(settling.next_turn_id, opened_id);
            end if;
        elsif more_work then
            perform want_turn(settling.next_turn_id, held.id);
        end if;

        outcome := 'settled';
        return next;
    end loop;
end $$;

-- An operator ends a session. What no turn has answered by now is skipped and says so.
create function end_session(of_session uuid, for_reason text) returns void language plpgsql
set search_path = textback, pg_temp as $$
declare
    held record;
begin
    select number_id, contact into held from session where id = of_session;
    if not found then
        return;
    end if;
    perform lock_contact(held.number_id, held.contact);
    select handled_seq, status into held from session where id = of_session for update;
    if held.status = 'closed' then
        return;
    end if;
    update message set skip_reason = 'session_ended'
     where session_id = of_session and direction = 'inbound' and seq > held.handled_seq and skip_reason is null;
    perform close_session(of_session, for_reason);
end $$;
