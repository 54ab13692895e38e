-- Step 2 of the road: texts become rows. One call takes a batch in one transaction, so that
-- requests which wait for the same flush share it.

-- Queues everybody who is about to change what a number and a contact have between them.
-- Always taken first, always in a statement of its own: a lock taken by the statement that
-- reads comes too late for that statement's snapshot. 64 bits, because 32-bit hashes collide
-- 107 times in a million numbers. In SQL, so that a statement that calls it for a whole batch takes its body in.
create function lock_contact(of_number uuid, of_contact text) returns void language plpgsql
set search_path = textback, pg_temp as $$
begin
    perform pg_advisory_xact_lock(hashtextextended(of_number::text || ' ' || of_contact, 0));
end $$;

-- The session of a number and a contact that is not closed, its row locked; or a new one.
-- The caller holds lock_contact.
create function find_or_open_session(
    new_id uuid, of_project uuid, of_number uuid, of_contact text, on_channel text, by_agent uuid, from_origin text
) returns uuid language plpgsql
set search_path = textback, pg_temp as $$
declare
    found_id uuid;
    previous record;
begin
    select id into found_id from session
     where number_id = of_number and contact = of_contact and channel = on_channel and status <> 'closed'
       for update;
    if found then
        return found_id;
    end if;

    select id, paused_until into previous from session
     where project_id = of_project and contact = of_contact and number_id = of_number and channel = on_channel
     order by id desc limit 1;

    insert into session (id, project_id, number_id, contact, channel, status, origin, engaged,
                         agent_id, agent_version, warn_after_seconds, previous_session_id, paused_until)
    select new_id, of_project, of_number, of_contact, on_channel, 'open', from_origin, false,
           agent.id, agent.current_version, version.warn_after_seconds, previous.id, previous.paused_until
      from agent
      join agent_version version on version.agent_id = agent.id and version.version = agent.current_version
     where agent.id = by_agent;
    if previous.id is not null then
        -- A farewell that did not leave yet would come after a new beginning.
        perform withdraw_stale(of_number, of_contact, '{warning,closing}');
    end if;
    return new_id;
end $$;

-- Marks that a session has work: its turn. While one is there it also covers what came later.
create function want_turn(new_id uuid, of_session uuid) returns void language plpgsql
set search_path = textback, pg_temp as $$
begin
    insert into turn (id, session_id, project_id, agent_id, due_at)
    select new_id, session.id, session.project_id, session.agent_id, now() + make_interval(secs => version.debounce_seconds)
      from session
      join agent_version version on version.agent_id = session.agent_id and version.version = session.agent_version
     where session.id = of_session
    on conflict on constraint a_session_has_one_turn_at_a_time do nothing;
end $$;

-- The silence that the agent of a session allows from now on. Not in SQL: a function in SQL with a table in it is planned anew each
-- time it is called, which took 0.3 ms.
create function allowed_silence(of_session uuid) returns integer language plpgsql stable
set search_path = textback, pg_temp as $$
declare
    seconds integer;
begin
    select version.warn_after_seconds into seconds
      from session
      join agent on agent.id = session.agent_id
      join agent_version version on version.agent_id = agent.id and version.version = agent.current_version
     where session.id = of_session;
    return seconds;
end $$;

-- Sees to it that a session in which somebody just said something is looked at when it may be silent. It writes for the
-- first text, and for the first after the agent's time was made shorter: any job that is there else comes early enough
-- and moves itself.
create function arm_silence(of_session uuid, silent_after integer, is_new boolean) returns void language plpgsql
set search_path = textback, pg_temp as $$
declare
    silent_at timestamptz := now() + make_interval(secs => silent_after);
begin
    if is_new then
        insert into silence (session_id, project_id, due_at)
        select id, project_id, silent_at from session where id = of_session
        on conflict on constraint a_session_has_one_silence_job do nothing;
    else
        update silence set due_at = silent_at where session_id = of_session and due_at > silent_at;
    end if;
end $$;

-- Takes back warnings and farewells to a contact that are not true any more and that nobody began to send.
-- The caller holds lock_contact.
create function withdraw_stale(from_number uuid, to_contact text, kinds text[]) returns void language plpgsql
set search_path = textback, pg_temp as $$
declare
    withdrawn record;
begin
    for withdrawn in
        update delivery
           set status = 'suppressed', due_at = null, updated_at = now(), error_detail = 'it is no longer true',
               history = with_step(history, delivery_step('suppressed', null, null, null, 'it is no longer true'))
          from message
         where delivery.number_id = from_number and delivery.contact = to_contact
           and delivery.due_at is not null and delivery.status = 'planned'
           and message.id = delivery.id and message.kind = any (kinds)
        returning delivery.project_id, delivery.created_at
    loop
        perform uncount_outbound(withdrawn.project_id, to_contact, 1, withdrawn.created_at);
    end loop;
end $$;

-- The same for one delivery that is planned again: while it was away, somebody may have spoken. A warning is true while its
-- session is warned, a farewell until the contact's next session. The caller holds lock_contact.
create function withdraw_if_stale(of_delivery uuid) returns void language plpgsql
set search_path = textback, pg_temp as $$
declare
    withdrawn record;
begin
    update delivery
       set status = 'suppressed', due_at = null, updated_at = now(), error_detail = 'it is no longer true',
           history = with_step(history, delivery_step('suppressed', null, null, null, 'it is no longer true'))
      from message join session on session.id = message.session_id
     where delivery.id = of_delivery and delivery.status = 'planned' and message.id = delivery.id
       and ((message.kind = 'warning' and session.status <> 'warned')
            or (message.kind = 'closing'
                and exists (select from session later
                             where later.project_id = session.project_id and later.contact = session.contact
                               and later.number_id = session.number_id and later.previous_session_id = session.id)))
    returning delivery.project_id, delivery.contact, delivery.created_at into withdrawn;
    if found then
        perform uncount_outbound(withdrawn.project_id, withdrawn.contact, 1, withdrawn.created_at);
    end if;
end $$;

-- Why a guard holds a text that a session is about to get; null when it may pass. said is null for one that can't be a
-- repetition: pictures come without words. Only texts of the last five minutes
-- are looked at, and those of the contact's sessions just before this one: an agent that hangs up each time must not
-- hide a loop.
create function hold_reason(of_session uuid, said text) returns text language plpgsql
set search_path = textback, pg_temp as $$
declare
    held   record;
    recent uuid[] := array[of_session];
    of_recent uuid;
    seen   record;
    alike  integer := 0;
    passed integer := 0;
    in_all integer := 0;
begin
    select session.project_id, session.number_id, session.contact, session.paused_until, session.opened_at,
           session.last_message_at, session.previous_session_id,
           project.texts_per_contact_per_minute as most_a_minute, project.repeats_in_five_minutes as most_repeats
      into held
      from session join project on project.id = session.project_id
     where session.id = of_session;
    if held.paused_until > now() and held.most_repeats > 0 then
        return 'paused';
    end if;
    if held.last_message_at < now() - interval '5 minutes' or (held.most_repeats = 0 and held.most_a_minute = 0) then
        return null;
    end if;
    if held.previous_session_id is not null and held.opened_at > now() - interval '5 minutes' then
        recent := array(
            select id
              from (select id, number_id, last_message_at from session
                     where project_id = held.project_id and contact = held.contact order by id desc limit 100) latest
             where number_id = held.number_id and last_message_at > now() - interval '5 minutes');
    end if;

    -- Row by row, the newest first, so that a long conversation costs no more than its last five minutes; and never more
    -- than a thousand: whoever sends so much in a minute is held for that alone.
    foreach of_recent in array recent loop
        for seen in
            select body, skip_reason, created_at from message
             where session_id = of_recent and direction = 'inbound' and kind = 'text'
             order by seq desc limit 1000
        loop
            exit when seen.created_at <= now() - interval '5 minutes';
            alike := alike + coalesce(seen.body = said, false)::integer;
            if seen.created_at > now() - interval '1 minute' then
                in_all := in_all + 1;
                passed := passed + (seen.skip_reason is null)::integer;
            end if;
        end loop;
    end loop;
    return case when held.most_repeats > 0 and alike + 1 >= held.most_repeats then 'repeats'
                when held.most_a_minute > 0 and (passed >= held.most_a_minute or in_all >= 1000) then 'contact_too_fast' end;
end $$;

-- Counts texts of a project in this minute of the clock; answers how many of them may still pass.
create function count_pace(of_project uuid, more integer, most integer) returns integer language plpgsql
set search_path = textback, pg_temp as $$
declare
    counted integer;
begin
    insert into project_pace as pace (project_id, minute, texts) values (of_project, date_trunc('minute', now()), more)
    on conflict on constraint a_project_has_one_pace do update
       set texts = case when pace.minute = excluded.minute then pace.texts + more else more end, minute = excluded.minute
    returning texts into counted;
    return least(more, most - (counted - more));
end $$;

-- A parsed inbound text. ordinal: its position in the batch, from 0. reason: why the text fits no session, if the webhook
-- knows that already. keyword: stop, start, help, or yes, which means start only from a contact who has opted out.
-- said_at: the time of a text that was read back later. media: [{id, url, content_type}] or null. The ids are new and
-- used if needed; consent_id and help_message_id come with a keyword. agent_id: the caller has a slot for a turn of this
-- agent. A composite type, because parsing JSON cost 6 µs per text here.
create type incoming_text as (
    ordinal         integer,
    project_id      uuid,
    "to"            text,
    "from"          text,
    carrier_sid     text,
    body            text,
    media           jsonb,
    reason          text,
    keyword         text,
    said_at         timestamptz,
    message_id      uuid,
    session_id      uuid,
    turn_id         uuid,
    consent_id      uuid,
    help_message_id uuid,
    agent_id        uuid
);

-- Those texts of a batch that are like nearly all: the first of its contact there, in a session that is open and engaged, without
-- pictures, keyword or guard in its way. In one statement for all of them, which costs a third of one after the other; what is not
-- answered here, take_in handles one by one. The caller holds the locks of all contacts of these numbers.
-- A turn of the agent that the text names is claimed for the caller at once, under begin_token for begin_seconds: it answers this text
-- alone, since a session without a turn has nothing else that waits. Who looks at the history waits for a claim, which reads it.
create function take_in_together(texts incoming_text[], numbers uuid[], begin_token uuid, begin_seconds double precision)
returns table (ordinal integer, message_id uuid, session_id uuid, agent_id uuid, begun_at timestamptz, seq bigint, number_id uuid,
               origin text, begun_by_agent boolean, agent_version integer, started boolean, state jsonb, language text, handled_seq bigint)
language plpgsql
set search_path = textback, pg_temp as $$
declare
    -- A variable, because a distributed table refuses now() inside case and coalesce.
    this_time timestamptz := now();
    -- Drawn beforehand, so that nothing has to be joined with what was written. The contacts' locks keep their order.
    seqs      bigint[] := array(select nextval('message_seq_seq') from unnest(texts));
begin
    return query
    with found as (
        -- What is found by "limit 1", and below by its place, is looked up whatever the statistics said when this was
        -- planned: a join that was planned while there were few sessions reads all of them for each batch when there are many.
        select t.ordinal, t.project_id, t.message_id, t.turn_id, t.body, t.carrier_sid, number.id as number_id, session.place,
               session.id as session_id, session.agent_id, session.agent_version, session.origin::text, session.begun_by_turn, session.started_at,
               session.state::jsonb, session.language, session.handled_seq,
               current.warn_after_seconds as silent_after, session.warn_after_seconds as silent_after_before, running.debounce_seconds,
               t.agent_id = session.agent_id and running.debounce_seconds = 0 and not running.reads_history
               and (select turn.id from turn where turn.session_id = session.id limit 1) is null as begins
          from (select distinct on (t.project_id, t."to", t."from") t.* from unnest(texts) t
                 order by t.project_id, t."to", t."from", t.ordinal) t
          join project on project.id = t.project_id
          join number on number.project_id = t.project_id and number.number = t."to" and number.detached_at is null
                     and number.id = any (numbers)
         cross join lateral (
               select ctid as place, session.* from session
                where session.project_id = t.project_id and session.number_id = number.id and session.contact = t."from"
                  and session.channel = 'sms' and session.status <> 'closed'
                limit 1 for update) session
          join agent on agent.id = session.agent_id
          join agent_version current on current.agent_id = agent.id and current.version = agent.current_version
          join agent_version running on running.agent_id = session.agent_id and running.version = session.agent_version
         where t.reason is null and t.keyword is null and t.media is null
           -- An engaged session is nobody's who has opted out: that closed it. Invariant 7 looks.
           and session.status = 'open' and session.engaged
           and project.texts_per_project_per_minute = 0
           and (project.repeats_in_five_minutes = 0 and project.texts_per_contact_per_minute = 0
                or hold_reason(session.id, nullif(t.body, '')) is null)
           and (select message.seq from message
                 where message.project_id = t.project_id and message.carrier_sid = t.carrier_sid limit 1) is null
    ), usual as (
        -- A row that somebody changed between this statement's snapshot and its lock is not at the place that the snapshot sees: it is
        -- left to take_in.
        update session
           set last_message_at = greatest(last_message_at, now()), warn_after_seconds = found.silent_after
          from found where session.ctid = found.place
        returning found.*
    ), armed as (
        -- Only after the agent's time was made shorter, or where it is shorter than a job waits for an answer that we owe: any other job
        -- comes early enough and moves itself.
        update silence set due_at = now() + make_interval(secs => early.silent_after)
          from (select job.place, usual.silent_after
                  from usual
                 cross join lateral (
                       select ctid as place from silence
                        where silence.session_id = usual.session_id and silence.due_at > now() + make_interval(secs => usual.silent_after)
                        limit 1) job
                 where usual.silent_after < usual.silent_after_before or usual.silent_after < 60) early
         where silence.ctid = early.place
    ), written as (
        insert into message (id, seq, project_id, session_id, direction, kind, body, carrier_sid) overriding system value
        select usual.message_id, seqs[usual.ordinal + 1], usual.project_id, usual.session_id, 'inbound', 'text', usual.body,
               usual.carrier_sid
          from usual
    ), marked as (
        insert into turn (id, session_id, project_id, agent_id, due_at, seen_seq, attempts, lease_token, leased_until)
        select usual.turn_id, usual.session_id, usual.project_id, usual.agent_id, now() + make_interval(secs => usual.debounce_seconds),
               case when usual.begins then seqs[usual.ordinal + 1] end, coalesce(usual.begins, false)::integer,
               case when usual.begins then begin_token end,
               case when usual.begins then this_time + make_interval(secs => begin_seconds) end
          from usual
        on conflict on constraint a_session_has_one_turn_at_a_time do nothing
    )
    select usual.ordinal, usual.message_id, usual.session_id, usual.agent_id, case when usual.begins then this_time end,
           seqs[usual.ordinal + 1], usual.number_id, usual.origin, usual.begun_by_turn is not null, usual.agent_version,
           usual.started_at is not null, case when usual.begins then usual.state end, usual.language, usual.handled_seq
      from usual;
end $$;

-- forms: how each text came, for quarantine. begin_token, begin_seconds: see take_in_together.
-- Answers one row a text: stored (with its session's agent, and from begun_at on what the agent needs if its turn is claimed), noted
-- (no turn answers it; why says so), duplicate, or quarantined (then with the reason).
create function take_in(texts incoming_text[], forms bytea[], begin_token uuid, begin_seconds double precision)
returns table (ordinal integer, outcome text, why text, message_id uuid, session_id uuid, agent_id uuid, begun_at timestamptz,
               seq bigint, number_id uuid, origin text, begun_by_agent boolean, agent_version integer, started boolean, state jsonb,
               language text, handled_seq bigint) language plpgsql
-- One plan a connection. Plans for given values would be made five times before, 10 ms each, and are no better.
set plan_cache_mode = force_generic_plan
-- One that waits for somebody's lock keeps all others of its batch: after a second they go one by one.
set lock_timeout = '1s'
set search_path = textback, pg_temp as $$
declare
    text_in   record;
    held      record;
    pace      record;
    opened_id uuid;
    word      text;
    is_out    boolean;
    -- How many texts of a project may still pass, where that is limited.
    rooms     jsonb := '{}';
    taken     integer;
    -- The numbers that are texted. One that is attached only now is nobody's whose lock is held, and is left to the loop.
    numbers   uuid[];
begin
    -- Before any contact's lock, and in one order: two batches that count can't wait for each other.
    for pace in
        select t.project_id, count(*)::integer as texts, project.texts_per_project_per_minute as most
          from unnest(texts) t
          join project on project.id = t.project_id and project.texts_per_project_per_minute > 0
         where coalesce(t.keyword, 'yes') = 'yes' and t.reason is null
         group by t.project_id, project.texts_per_project_per_minute
         order by t.project_id
    loop
        rooms := rooms || jsonb_build_object(pace.project_id, count_pace(pace.project_id, pace.texts, pace.most));
    end loop;

    -- Every batch takes its locks in this order, so two batches can't wait for each other.
    numbers := array(select distinct number.id
                       from unnest(texts) t
                       join number on number.project_id = t.project_id and number.number = t."to" and number.detached_at is null
                      where t.reason is null);
    -- As lock_contact does, in place: a call for each text cost 4 us.
    perform pg_advisory_xact_lock(hashtextextended(contact.number_id::text || ' ' || contact."from", 0))
       from (select number.id as number_id, t."from"
               from unnest(texts) t
               join number on number.project_id = t.project_id and number.number = t."to" and number.id = any (numbers)
              where t.reason is null
              order by number.id, t."from") contact;

    return query
    select t.ordinal, 'stored', null::text, t.message_id, t.session_id, t.agent_id, t.begun_at, t.seq, t.number_id, t.origin,
           t.begun_by_agent, t.agent_version, t.started, t.state, t.language, t.handled_seq
      from take_in_together(texts, numbers, begin_token, begin_seconds) t;
    get diagnostics taken = row_count;
    if taken = cardinality(texts) then
        return;
    end if;

    for text_in in
        select t.*, number.id as number_id, number.agent_id as agent_of_number
          from unnest(texts) t
          left join number on number.project_id = t.project_id and number.number = t."to"
                          and number.detached_at is null and t.reason is null
         -- Those above are written already, under these ids.
         where (select message.id from message where message.id = t.message_id limit 1) is null
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
            values (text_in.message_id, text_in.project_id, 'inbound', why, text_in.carrier_sid, forms[text_in.ordinal + 1])
            on conflict do nothing;
            outcome := 'quarantined';
            return next;
            continue;
        end if;

        -- Held already, unless its number was attached since.
        perform lock_contact(text_in.number_id, text_in."from");

        select message.id, message.session_id into message_id, session_id from message
         where message.project_id = text_in.project_id and message.carrier_sid = text_in.carrier_sid
           and message.direction = 'inbound';
        if found then
            outcome := 'duplicate';
            return next;
            continue;
        end if;

        is_out := has_opted_out(text_in.number_id, text_in."from");
        word := text_in.keyword;
        if word = 'yes' then
            word := case when is_out then 'start' end;
        end if;

        opened_id := find_or_open_session(text_in.session_id, text_in.project_id, text_in.number_id,
                                          text_in."from", 'sms', text_in.agent_of_number, 'inbound');
        if word is not null then
            why := 'keyword';
        elsif is_out then
            -- An ordinary text restores nothing: it is kept, and nobody answers.
            why := 'opted_out';
        else
            why := hold_reason(opened_id, case when text_in.media is null and text_in.body <> '' then text_in.body end);
            if why = 'repeats' then
                update session set paused_until = now() + interval '10 minutes' where id = opened_id;
            elsif why is null and rooms ? text_in.project_id::text then
                rooms := rooms || jsonb_build_object(text_in.project_id, (rooms ->> text_in.project_id::text)::integer - 1);
                if (rooms ->> text_in.project_id::text)::integer < 0 then
                    why := 'project_too_fast';
                end if;
            end if;
        end if;

        if why is null then
            select engaged, status, allowed_silence(id) as silent_after into held from session where id = opened_id;
            update session
               set last_message_at = greatest(last_message_at, now()), warn_after_seconds = held.silent_after,
                   engaged = true, status = 'open', warned_at = null
             where id = opened_id;
            perform arm_silence(opened_id, held.silent_after, not held.engaged);
            if held.status = 'warned' then
                perform withdraw_stale(text_in.number_id, text_in."from", '{warning}');
            end if;
        end if;

        -- No "on conflict" here: the same id under another contact must not leave an empty
        -- session behind. It fails the batch, and the caller's second try meets the duplicate.
        insert into message (id, project_id, session_id, direction, kind, body, carrier_sid, skip_reason)
        values (text_in.message_id, text_in.project_id, opened_id, 'inbound',
                case when word is null then 'text' else 'keyword' end, text_in.body, text_in.carrier_sid, why);
        if text_in.media is not null then
            insert into medium (id, project_id, message_id, position, url, content_type)
            select (item ->> 'id')::uuid, text_in.project_id, text_in.message_id, place - 1, item ->> 'url', item ->> 'content_type'
              from jsonb_array_elements(text_in.media) with ordinality as media (item, place);
        end if;

        if why is null then
            perform want_turn(text_in.turn_id, opened_id);
        elsif word is not null then
            perform obey_keyword(word, opened_id, text_in.number_id, text_in.project_id, text_in."from", text_in.body,
                                 text_in.message_id, text_in.said_at, text_in.consent_id, text_in.help_message_id);
        end if;

        message_id := text_in.message_id;
        session_id := opened_id;
        outcome := case when why is null then 'stored' else 'noted' end;
        return next;
    end loop;
end $$;
