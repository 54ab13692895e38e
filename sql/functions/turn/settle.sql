-- Settles a batch of turns, all or nothing for each turn. It takes the locks of all contacts.
-- Returns one row a turn: settled (leaving: the first message is claimed for the caller), or stale when the token is no
-- longer the turn's. refused: the limits that suppressed messages of the turn.
create or replace function settle_turns(turns turn_outcome[])
returns table (ordinal integer, outcome text, planned integer, more_work boolean, leaving boolean, refused text[]) language plpgsql
-- As in ingest.
set plan_cache_mode = force_generic_plan
set lock_timeout = '1s'
set search_path = textback, pg_temp as $$
declare
    settling  record;
    locked      record;
    reply     record;
    opened_id uuid;
    inactivity_after integer;
    going_on  uuid;
    next_id   uuid;
    done      integer[] := '{}';
    bounded   uuid[];
    bound     record;
    passing   text[];
    -- The turns whose messages are counted together, and those whose messages don't all fit.
    counted   integer[] := '{}';
    over      integer[] := '{}';
    why       text;
    -- A variable, because a distributed table refuses now() inside case and coalesce.
    this_time timestamptz := now();
begin
    -- The same order as ingest.
    perform pg_advisory_xact_lock(hashtextextended(contact.number_id::text || ' ' || contact.contact, 0))
       from (select t.number_id, t.contact from unnest(turns) t order by t.number_id, t.contact) contact;

    -- Where a project has outbound limits, the messages of a turn are counted together. A turn that does not fit goes through
    -- the loop below, message by message. The numbers come first: they are few, and this is all that a batch without limits costs.
    bounded := array(
        select number.id
          from (select distinct t.number_id from unnest(turns) t) of_turns
         cross join lateral (select id, project_id from number where number.id = of_turns.number_id and number.send_policy <> 'blocked' limit 1) number
         cross join lateral (
               select project.id from project
                where project.id = number.project_id
                  and (project.outbound_per_contact_per_hour > 0 or project.outbound_per_contact_per_day > 0
                       or project.outbound_per_project_per_minute > 0 or project.outbound_per_project_per_day > 0)
                limit 1) project);
    if bounded <> '{}' then
        -- A project's windows are written once for all of its turns, in the order in which all callers lock them.
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
        select * from settle_turns_fast_path(case when over = '{}' then turns else array(select t from unnest(turns) t where t.ordinal <> all (over)) end)
    loop
        if more_work then
            perform enqueue_turn(next_id, going_on);
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
            -- The fast path left it, so it is counted again message by message.
            perform uncount_outbound((select s.project_id from session s where s.id = settling.session_id), settling.contact,
                                     cardinality(settling.message_ids), this_time);
        end if;
        outcome := 'stale';
        planned := 0;
        more_work := false;
        leaving := false;

        select s.id, s.project_id, s.handled_seq, s.started_at, s.agent_id into locked
          from session s where s.id = settling.session_id for update;
        perform 1 from turn
          where turn.session_id = settling.session_id and turn.id = settling.turn_id and turn.lease_token = settling.token
            for update;
        if not found then
            return next;
            continue;
        end if;

        for reply in
            select m.* from unnest(settling.message_ids, settling.kinds, settling.bodies) with ordinality as m (message_id, kind, body, ordinal)
        loop
            why := plan_message(
                reply.message_id, locked.project_id, locked.id, settling.number_id, settling.contact, reply.kind, reply.body, settling.turn_id, null,
                case when reply.ordinal = cardinality(settling.message_ids) then settling.truncated end, false);
            if why is not null then
                refused := refused || why;
            end if;
            planned := planned + 1;
        end loop;
        if settling.sends is not null then
            insert into scheduled_message (id, project_id, number_id, contact, countries, body, on_active_session, heeds_quiet_hours,
                                           turn_id, send_at, due_at, refusal_reason)
            select send.message_id, locked.project_id, coalesce(number.id, settling.number_id), send.contact, send.countries, send.body,
                   'join', false, settling.turn_id, now(),
                   case when send.refused is null and (send.number is null or number.id is not null) then this_time end,
                   coalesce(send.refused, case when send.number is not null and number.id is null then 'number_detached' end)
              from jsonb_to_recordset(settling.sends)
                   as send (message_id uuid, number text, contact text, countries text[], body text, refused text)
              left join number on number.project_id = locked.project_id and number.number = send.number and number.detached_at is null;
        end if;

        if settling.skip_reason is not null then
            update message set skip_reason = settling.skip_reason
             where message.session_id = locked.id and direction = 'inbound' and skip_reason is null
               and seq > locked.handled_seq and seq <= settling.seen_seq;
        end if;

        inactivity_after := inactivity_seconds(locked.id);
        update session
           set state = coalesce(settling.state::session_state, state),
               language = settling.language,
               handled_seq = settling.seen_seq,
               started_at = case when settling.started then coalesce(locked.started_at, this_time) else locked.started_at end,
               last_message_at = case when planned > 0 then greatest(last_message_at, this_time) else last_message_at end,
               warn_after_seconds = case when planned > 0 then inactivity_after else warn_after_seconds end,
               status = case when planned > 0 then 'open' else status end,
               warned_at = case when planned > 0 then null else warned_at end
         where id = locked.id;
        if planned > 0 then
            perform schedule_inactivity(locked.id, inactivity_after, false);
        end if;
        delete from turn where turn.session_id = locked.id;

        -- Messages that came while the agent ran are not covered by its answer.
        more_work := exists (
            select 1 from message
             where message.session_id = locked.id and direction = 'inbound' and skip_reason is null and seq > settling.seen_seq);

        if settling.close_reason is not null then
            perform close_session(locked.id, settling.close_reason);
            if more_work then
                -- Messages that were committed into the session that ends here open the next one.
                opened_id := find_or_open_session(settling.next_session_id, locked.project_id, settling.number_id,
                                                  settling.contact, 'sms', locked.agent_id, 'inbound');
                perform move_waiting_messages(locked.id, settling.seen_seq, opened_id);
                perform enqueue_turn(settling.next_turn_id, opened_id);
            end if;
        elsif more_work then
            perform enqueue_turn(settling.next_turn_id, locked.id);
        end if;

        outcome := 'settled';
        return next;
    end loop;
end $$;
