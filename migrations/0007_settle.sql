-- Step 4 of the road: a turn's outcome becomes rows, all or nothing, and only for the worker
-- that still holds the token.

-- Closes a session and takes away its turn, its scheduled job and a warning that was not sent. The caller holds the
-- session's row.
create function close_session(of_session uuid, for_reason text) returns void language plpgsql as $$
begin
    update session set status = 'closed', closed_at = now(), close_reason = for_reason where id = of_session;
    delete from turn where turn.session_id = of_session;
    delete from silence where silence.session_id = of_session;
    perform withdraw_stale(session.number_id, session.contact, '{warning}') from session where session.id = of_session and warned_at is not null;
end $$;

-- Texts that came into a session after a seq and wait for an answer when it ends open the next one, and move there.
create function take_over_waiting(from_session uuid, after_seq bigint, to_session uuid) returns void language plpgsql as $$
begin
    update message set session_id = to_session
     where session_id = from_session and direction = 'inbound' and skip_reason is null and seq > after_seq;
    if found then
        update session set engaged = true where id = to_session;
        perform arm_silence(to_session, allowed_silence(to_session), true);
    end if;
end $$;

-- turns: [{ordinal, turn_id, session_id, number_id, contact, token, seen_seq, started, state, language,
--          close_reason, skip_reason, messages: [{message_id, delivery_id, kind, body}],
--          sends: [{message_id, number, contact, body}], next_turn_id, next_session_id}]
-- sends are texts outside the answer: they become scheduled messages that are due at once, and leave after the turn.
-- Answers one row a turn: settled, or stale when the token is no longer the turn's.
create function settle_turns(turns jsonb)
returns table (ordinal integer, outcome text, planned integer, more_work boolean) language plpgsql as $$
declare
    settling  record;
    held      record;
    reply     record;
    opened_id uuid;
    silent_after integer;
    -- A variable, because a distributed table refuses now() inside case and coalesce.
    this_time timestamptz := now();
begin
    for settling in
        select t.*
          from jsonb_to_recordset(turns) as t (
                   ordinal integer, turn_id uuid, session_id uuid, number_id uuid, contact text, token uuid,
                   seen_seq bigint, started boolean, state jsonb, language text, close_reason text, skip_reason text,
                   messages jsonb, sends jsonb, next_turn_id uuid, next_session_id uuid)
         -- The same order as take_in.
         order by t.number_id, t.contact, t.ordinal
    loop
        ordinal := settling.ordinal;
        outcome := 'stale';
        planned := 0;
        more_work := false;

        perform lock_contact(settling.number_id, settling.contact);
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
            select m.* from jsonb_to_recordset(settling.messages) as m (message_id uuid, delivery_id uuid, kind text, body text)
        loop
            perform plan_message(reply.message_id, reply.delivery_id, held.project_id, held.id, settling.number_id,
                                 settling.contact, reply.kind, reply.body, settling.turn_id, null);
            planned := planned + 1;
        end loop;
        if settling.sends <> '[]' then
            insert into scheduled_message (id, project_id, number_id, contact, body, on_active_session, heeds_quiet_hours,
                                           turn_id, send_at, due_at, refused)
            select send.message_id, held.project_id, coalesce(number.id, settling.number_id), send.contact, send.body, 'join', false,
                   settling.turn_id, now(),
                   case when send.number is null or number.id is not null then this_time end,
                   case when send.number is not null and number.id is null then 'number_detached' end
              from jsonb_to_recordset(settling.sends) as send (message_id uuid, number text, contact text, body text)
              left join number on number.project_id = held.project_id and number.number = send.number and number.detached_at is null;
        end if;

        if settling.skip_reason is not null then
            update message set skip_reason = settling.skip_reason
             where message.session_id = held.id and direction = 'inbound' and skip_reason is null
               and seq > held.handled_seq and seq <= settling.seen_seq;
        end if;

        silent_after := allowed_silence(held.id);
        update session
           set state = settling.state,
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
create function end_session(of_session uuid, for_reason text) returns void language plpgsql as $$
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
