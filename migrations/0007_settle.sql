-- Step 4 of the road: a turn's outcome becomes rows, all or nothing, and only for the worker
-- that still holds the token.

-- Closes a session and takes away its turn, its scheduled job and a warning that was not sent. The caller holds the
-- session's row.
create function close_session(of_session uuid, for_reason text) returns void language plpgsql as $$
begin
    update session set status = 'closed', closed_at = now(), close_reason = for_reason where id = of_session;
    delete from turn where turn.session_id = of_session;
    delete from silence where silence.session_id = of_session;
    perform withdraw_warning(of_session);
end $$;

-- turns: [{ordinal, turn_id, session_id, number_id, contact, token, seen_seq, started, state, language,
--          close_reason, skip_reason, messages: [{message_id, delivery_id, kind, body}],
--          next_turn_id, next_session_id}]
-- Answers one row a turn: settled, or stale when the token is no longer the turn's.
create function settle_turns(turns jsonb)
returns table (ordinal integer, outcome text, planned integer, more_work boolean) language plpgsql as $$
declare
    settling  record;
    held      record;
    reply     record;
    reply_seq bigint;
    opened_id uuid;
    -- A variable, because a distributed table refuses now() inside case and coalesce.
    this_time timestamptz := now();
begin
    for settling in
        select t.*
          from jsonb_to_recordset(turns) as t (
                   ordinal integer, turn_id uuid, session_id uuid, number_id uuid, contact text, token uuid,
                   seen_seq bigint, started boolean, state jsonb, language text, close_reason text, skip_reason text,
                   messages jsonb, next_turn_id uuid, next_session_id uuid)
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
            insert into message (id, project_id, session_id, direction, kind, body, turn_id)
            values (reply.message_id, held.project_id, held.id, 'outbound', reply.kind, reply.body, settling.turn_id)
            returning seq into reply_seq;
            insert into delivery (id, message_id, project_id, session_id, number_id, contact, seq, due_at)
            values (reply.delivery_id, reply.message_id, held.project_id, held.id, settling.number_id, settling.contact, reply_seq, now());
            planned := planned + 1;
        end loop;

        if settling.skip_reason is not null then
            update message set skip_reason = settling.skip_reason
             where message.session_id = held.id and direction = 'inbound'
               and seq > held.handled_seq and seq <= settling.seen_seq;
        end if;

        update session
           set state = settling.state,
               language = settling.language,
               handled_seq = settling.seen_seq,
               started_at = case when settling.started then coalesce(held.started_at, this_time) else held.started_at end,
               last_message_at = case when planned > 0 then this_time else last_message_at end,
               status = case when planned > 0 then 'open' else status end,
               warned_at = case when planned > 0 then null else warned_at end
         where id = held.id;
        if planned > 0 then
            perform arm_silence(held.id, false);
        end if;
        delete from turn where turn.session_id = held.id;

        -- What came while the agent was thinking is not covered by what it said.
        more_work := exists (
            select 1 from message
             where message.session_id = held.id and direction = 'inbound' and seq > settling.seen_seq);

        if settling.close_reason is not null then
            perform close_session(held.id, settling.close_reason);
            if more_work then
                -- They were committed into a session that ends here: they open the next one.
                opened_id := find_or_open_session(settling.next_session_id, held.project_id, settling.number_id,
                                                  settling.contact, 'sms', held.agent_id, 'inbound');
                update session set engaged = true where id = opened_id;
                perform arm_silence(opened_id, true);
                update message set session_id = opened_id
                 where message.session_id = held.id and direction = 'inbound' and seq > settling.seen_seq;
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
     where session_id = of_session and direction = 'inbound' and seq > held.handled_seq;
    perform close_session(of_session, for_reason);
end $$;

-- How far a delivery has come; it only moves to a higher rank.
create function delivery_rank(status text) returns integer language sql immutable as $$
    select case status when 'planned' then 0 when 'sending' then 1 when 'unknown' then 2
                       when 'accepted' then 3 when 'sent' then 4 else 5 end
$$;

-- A warning that can't be delivered: its session is looked at now.
create function hasten_silence(of_delivery uuid) returns void language plpgsql as $$
begin
    update silence set due_at = now()
      from delivery join message on message.id = delivery.message_id
     where delivery.id = of_delivery and message.kind = 'warning'
       and silence.session_id = delivery.session_id and silence.due_at > now();
end $$;

-- deliveries: [{ordinal, id, token, status, carrier_sid, error_code, error_class, error_detail, retry_after_seconds}]
-- Answers one row a delivery: settled, or stale when the token is no longer its own. A status
-- callback may have been faster than the carrier's answer: then what it said stays.
create function settle_deliveries(deliveries jsonb)
returns table (ordinal integer, outcome text) language plpgsql as $$
declare
    settling  record;
    this_time timestamptz := now();
begin
    for settling in
        select d.*
          from jsonb_to_recordset(deliveries) as d (
                   ordinal integer, id uuid, token uuid, status text, carrier_sid text, error_code integer,
                   error_class text, error_detail text, retry_after_seconds double precision)
         order by d.id
    loop
        ordinal := settling.ordinal;
        if settling.status in ('planned', 'unknown') then
            -- Something is left to do: to send it again, or to find out whether the carrier has it.
            update delivery
               set status = settling.status, due_at = now() + make_interval(secs => settling.retry_after_seconds),
                   lease_token = null, leased_until = null, updated_at = now(),
                   error_code = settling.error_code, error_class = settling.error_class, error_detail = settling.error_detail
             where id = settling.id and lease_token = settling.token;
        else
            update delivery
               set status = settling.status, due_at = null, lease_token = null, leased_until = null,
                   carrier_sid = settling.carrier_sid, updated_at = now(),
                   accepted_at = case when settling.status = 'accepted' then this_time else accepted_at end,
                   error_code = settling.error_code, error_class = settling.error_class, error_detail = settling.error_detail
             where id = settling.id and lease_token = settling.token;
        end if;
        outcome := case when found then 'settled' else 'stale' end;
        if settling.status = 'failed' then
            perform hasten_silence(settling.id);
        end if;
        return next;
    end loop;
end $$;

-- Step 7: the carrier reports. Forward only; late and doubled reports change nothing.
-- Answers moved, unchanged, or unknown when no delivery of the project fits.
create function record_status(of_project uuid, of_delivery uuid, of_carrier_sid text, to_status text, code integer, class text)
returns text language plpgsql as $$
declare
    held      record;
    this_time timestamptz := now();
begin
    select id, status, carrier_sid into held from delivery
     where project_id = of_project
       and id = of_delivery and (carrier_sid is null or carrier_sid = of_carrier_sid)
       for update;
    if not found then
        select id, status, carrier_sid into held from delivery
         where project_id = of_project and carrier_sid = of_carrier_sid
           for update;
    end if;
    if not found then
        return 'unknown';
    end if;
    if delivery_rank(to_status) <= delivery_rank(held.status) then
        return 'unchanged';
    end if;
    update delivery
       set status = to_status, carrier_sid = of_carrier_sid, due_at = null, lease_token = null, leased_until = null,
           accepted_at = case when accepted_at is null then this_time else accepted_at end,
           error_code = code, error_class = class, error_detail = null, updated_at = now()
     where id = held.id;
    if to_status = 'failed' then
        perform hasten_silence(held.id);
    end if;
    return 'moved';
end $$;

-- Settles an unknown delivery by what the carrier's list of messages shows. candidates are the ids of messages to the
-- same contact with the same text that are not older than the attempt, the oldest first; null when the list could not
-- be read. Only a list that was read long enough after the attempt makes an absence certain.
-- Answers found, absent (it will be sent again), waiting, or stale when the token is no longer its own.
create function resolve_unknown(of_delivery uuid, by_token uuid, candidates text[], settle_after_seconds double precision)
returns text language plpgsql as $$
declare
    held      record;
    found_sid text;
    this_time timestamptz := now();
begin
    select id, project_id, status, attempted_at into held from delivery
     where id = of_delivery and lease_token = by_token and status = 'unknown'
       for update;
    if not found then
        return 'stale';
    end if;

    -- A message that is another delivery's is not this one's, however alike their texts are.
    select candidate into found_sid
      from unnest(candidates) with ordinality as listed (candidate, position)
     where not exists (
               select 1 from delivery other where other.project_id = held.project_id and other.carrier_sid = listed.candidate)
     order by position
     limit 1;
    if found_sid is not null then
        update delivery
           set status = 'accepted', carrier_sid = found_sid, due_at = null, lease_token = null, leased_until = null,
               accepted_at = this_time, error_class = null, error_detail = null, updated_at = this_time
         where id = held.id;
        return 'found';
    end if;

    if candidates is not null and held.attempted_at + make_interval(secs => settle_after_seconds) < this_time then
        update delivery
           set status = 'planned', due_at = this_time, lease_token = null, leased_until = null, updated_at = this_time,
               error_detail = 'the carrier does not have it; it is sent again'
         where id = held.id;
        return 'absent';
    end if;

    update delivery
       set due_at = this_time + make_interval(secs => least(settle_after_seconds / 4, 15)),
           lease_token = null, leased_until = null, updated_at = this_time
     where id = held.id;
    return 'waiting';
end $$;
