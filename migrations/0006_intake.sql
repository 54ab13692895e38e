-- Step 2 of the road: texts become rows. One call takes a batch in one transaction, so that
-- requests which wait for the same flush share it.

-- Queues everybody who is about to change what a number and a contact have between them.
-- Always taken first, always in a statement of its own: a lock taken by the statement that
-- reads comes too late for that statement's snapshot. 64 bits, because 32-bit hashes collide
-- 107 times in a million numbers.
create function lock_contact(of_number uuid, of_contact text) returns void language plpgsql as $$
begin
    perform pg_advisory_xact_lock(hashtextextended(of_number::text || ' ' || of_contact, 0));
end $$;

-- The session of a number and a contact that is not closed, its row locked; or a new one.
-- The caller holds lock_contact.
create function find_or_open_session(
    new_id uuid, of_project uuid, of_number uuid, of_contact text, on_channel text, by_agent uuid, from_origin text
) returns uuid language plpgsql as $$
declare
    found_id    uuid;
    previous_id uuid;
begin
    select id into found_id from session
     where number_id = of_number and contact = of_contact and channel = on_channel and status <> 'closed'
       for update;
    if found then
        return found_id;
    end if;

    select id into previous_id from session
     where project_id = of_project and contact = of_contact and number_id = of_number and channel = on_channel
     order by id desc limit 1;

    insert into session (id, project_id, number_id, contact, channel, status, origin, engaged,
                         agent_id, agent_version, previous_session_id)
    select new_id, of_project, of_number, of_contact, on_channel, 'open', from_origin, false,
           agent.id, agent.current_version, previous_id
      from agent where agent.id = by_agent;
    return new_id;
end $$;

-- Marks that a session has work: its turn. While one is there it also covers what came later.
create function want_turn(new_id uuid, of_session uuid) returns void language plpgsql as $$
begin
    insert into turn (id, session_id, agent_id, due_at)
    select new_id, session.id, session.agent_id, now() + make_interval(secs => version.debounce_seconds)
      from session
      join agent_version version on version.agent_id = session.agent_id and version.version = session.agent_version
     where session.id = of_session
    on conflict on constraint a_session_has_one_turn_at_a_time do nothing;
end $$;

-- Sees to it that a session in which somebody just said something is looked at when it may be silent. It writes for the
-- first text, and for the first after the agent's time was made shorter: any job that is there else comes early enough
-- and moves itself.
create function arm_silence(of_session uuid, is_new boolean) returns void language plpgsql as $$
declare
    rules record;
begin
    select session.project_id, now() + make_interval(secs => version.warn_after_seconds) as silent_at into rules
      from session
      join agent on agent.id = session.agent_id
      join agent_version version on version.agent_id = agent.id and version.version = agent.current_version
     where session.id = of_session;
    if is_new then
        insert into silence (session_id, project_id, due_at) values (of_session, rules.project_id, rules.silent_at)
        on conflict on constraint a_session_has_one_silence_job do nothing;
    else
        update silence set due_at = rules.silent_at where session_id = of_session and due_at > rules.silent_at;
    end if;
end $$;

-- Takes back a warning that nobody began to send.
create function withdraw_warning(of_session uuid) returns void language plpgsql as $$
begin
    update delivery set status = 'suppressed', due_at = null, updated_at = now()
      from message
     where message.session_id = of_session and message.kind = 'warning'
       and delivery.message_id = message.id and delivery.status = 'planned';
end $$;

-- texts: [{ordinal, project_id, to, from, carrier_sid, body, media, form (hex), reason,
--          message_id, session_id, turn_id, quarantine_id}], the ids new ones to be used if needed.
-- reason is set when the door already knows that the text fits no session.
-- Answers one row a text: stored, duplicate, or quarantined (then with the reason).
create function take_in(texts jsonb)
returns table (ordinal integer, outcome text, why text, message_id uuid, session_id uuid) language plpgsql as $$
declare
    text_in   record;
    held      record;
    opened_id uuid;
begin
    for text_in in
        select t.*, number.id as number_id, number.agent_id
          from jsonb_to_recordset(texts) as t (
                   ordinal integer, project_id uuid, "to" text, "from" text, carrier_sid text, body text, media jsonb,
                   form text, reason text, message_id uuid, session_id uuid, turn_id uuid, quarantine_id uuid)
          left join number on number.project_id = t.project_id and number.number = t."to"
                          and number.detached_at is null and t.reason is null
         -- Every batch takes its locks in this order, so two batches can't wait for each other.
         order by number.id, t."from", t.ordinal
    loop
        ordinal := text_in.ordinal;
        message_id := null;
        session_id := null;
        why := text_in.reason;

        if why is null and text_in.number_id is null then
            why := 'number_not_attached';
        end if;
        if why is not null then
            insert into quarantine (id, project_id, kind, reason, carrier_sid, form)
            values (text_in.quarantine_id, text_in.project_id, 'inbound', why, text_in.carrier_sid, decode(text_in.form, 'hex'))
            on conflict do nothing;
            outcome := 'quarantined';
            return next;
            continue;
        end if;

        perform lock_contact(text_in.number_id, text_in."from");

        select message.id, message.session_id into message_id, session_id from message
         where message.project_id = text_in.project_id and message.carrier_sid = text_in.carrier_sid
           and message.direction = 'inbound';
        if found then
            outcome := 'duplicate';
            return next;
            continue;
        end if;

        opened_id := find_or_open_session(text_in.session_id, text_in.project_id, text_in.number_id,
                                          text_in."from", 'sms', text_in.agent_id, 'inbound');
        select engaged, status into held from session where id = opened_id;
        update session
           set last_message_at = now(), engaged = true, status = 'open', warned_at = null
         where id = opened_id;
        perform arm_silence(opened_id, not held.engaged);
        if held.status = 'warned' then
            perform withdraw_warning(opened_id);
        end if;

        -- No "on conflict" here: the same id under another contact must not leave an empty
        -- session behind. It fails the batch, and the caller's second try meets the duplicate.
        insert into message (id, project_id, session_id, direction, kind, body, media, carrier_sid)
        values (text_in.message_id, text_in.project_id, opened_id, 'inbound', 'text', text_in.body, text_in.media, text_in.carrier_sid);

        perform want_turn(text_in.turn_id, opened_id);

        message_id := text_in.message_id;
        session_id := opened_id;
        outcome := 'stored';
        return next;
    end loop;
end $$;
