-- Texts that we begin: by an operator's request, once however often it is repeated, or when a scheduled one is due.

-- A request that may come again: the same key with the same request gets the first answer. Kept for a week.
create table idempotency_key (
    project_id   uuid        not null constraint idempotency_key_belongs_to_a_project references project (id),
    key          text        not null constraint idempotency_key_has_1_to_255_characters check (length(key) between 1 and 255),
    request_hash bytea       not null constraint request_hash_is_sha256 check (octet_length(request_hash) = 32),
    message_id   uuid        not null,
    -- Null when the text was scheduled.
    session_id   uuid,
    send_at      timestamptz,
    created_at   timestamptz not null default now(),
    constraint idempotency_key_pk primary key (project_id, key)
);

create index idempotency_key_oldest on idempotency_key (created_at);

-- A named text with variables.
create table template (
    project_id uuid        not null constraint template_belongs_to_a_project references project (id),
    name       text        not null constraint template_name_is_a_word check (name ~ '^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$'),
    body       text        not null constraint template_has_1_to_500_characters check (length(body) between 1 and 500),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint template_pk primary key (project_id, name)
);

-- The message of a text that we begin, with what goes with it.
create function begin_text(
    of_project uuid, from_number uuid, to_contact text, in_session uuid, saying text, media jsonb, by_turn uuid,
    new_message uuid
) returns void language plpgsql
set search_path = textback, pg_temp as $$
begin
    perform plan_message(new_message, of_project, in_session, from_number, to_contact, 'text', saying, by_turn, null, null, true);
    insert into medium (id, project_id, message_id, position, url)
    select (item ->> 'id')::uuid, of_project, new_message, place - 1, item ->> 'url'
      from jsonb_array_elements(media) with ordinality as media (item, place);
end $$;

-- Says something to a contact of our own accord: in a new session, whose start function is then run, or in the one that
-- is there. media: [{id, url}].
-- countries: the countries that the contact may be in. Returns sent, or why not: number_detached, contact_opted_out,
-- country_not_allowed, session_active, contact_limit_reached or project_limit_reached. The last two come with the end
-- of their window.
create function send_text(
    of_project uuid, from_number uuid, to_contact text, countries text[], saying text, media jsonb, on_active text, by_turn uuid,
    new_message uuid, new_session uuid, new_turn uuid
) returns table (outcome text, session_id uuid, until_at timestamptz) language plpgsql
set search_path = textback, pg_temp as $$
declare
    by_agent uuid;
    held     record;
    is_there boolean;
begin
    perform lock_contact(from_number, to_contact);
    select agent_id into by_agent from number where id = from_number and project_id = of_project and detached_at is null;
    if not found then
        outcome := 'number_detached';
        return next;
        return;
    end if;
    if has_opted_out(from_number, to_contact) then
        outcome := 'contact_opted_out';
        return next;
        return;
    end if;
    if not country_is_allowed(of_project, to_contact, countries) then
        outcome := 'country_not_allowed';
        return next;
        return;
    end if;

    select id, handled_seq, status, engaged, allowed_silence(id) as silent_after,
           not engaged and started_at is null and origin = 'inbound' as is_idle into held from session
     where number_id = from_number and contact = to_contact and channel = 'sms' and status <> 'closed'
       for update;
    is_there := found;
    if is_there and not held.is_idle and on_active = 'reject' then
        outcome := 'session_active';
        session_id := held.id;
        return next;
        return;
    end if;
    -- Nothing is changed before it is counted: what is over a limit leaves the session as it is.
    select limits.code, limits.until_at into outcome, until_at from count_one_outbound(of_project, to_contact) limits;
    if outcome is not null then
        return next;
        return;
    end if;
    if is_there and held.is_idle then
        -- It holds keywords, or texts that nobody was to answer: no conversation yet. This text begins it.
        session_id := held.id;
        update session set origin = 'outbound', begun_by_turn = by_turn, last_message_at = now(), warn_after_seconds = held.silent_after
         where id = held.id;
        perform want_turn(new_turn, held.id);
        perform begin_text(of_project, from_number, to_contact, session_id, saying, media, by_turn, new_message);
        outcome := 'sent';
        return next;
        return;
    end if;
    if is_there and on_active = 'join' then
        session_id := held.id;
        update session
           set last_message_at = greatest(last_message_at, now()), warn_after_seconds = held.silent_after,
               status = 'open', warned_at = null
         where id = held.id;
        if held.status = 'warned' then
            perform withdraw_stale(from_number, to_contact, '{warning}');
        end if;
        if held.engaged then
            perform arm_silence(held.id, held.silent_after, false);
        end if;
    else
        if is_there then
            perform close_session(held.id, 'superseded');
        end if;
        session_id := find_or_open_session(new_session, of_project, from_number, to_contact, 'sms', by_agent, 'outbound');
        update session set begun_by_turn = by_turn where id = session_id and by_turn is not null;
        if is_there then
            -- Nobody's text is lost: who waits for an answer gets it in the new session.
            perform take_over_waiting(held.id, held.handled_seq, session_id);
        end if;
        -- It runs the start function.
        perform want_turn(new_turn, session_id);
    end if;

    perform begin_text(of_project, from_number, to_contact, session_id, saying, media, by_turn, new_message);
    outcome := 'sent';
    return next;
end $$;

-- An operator's request to send a text, now or at a time, once for an idempotency key.
-- Answers sent or scheduled; replayed when the key was used for the same request before; else why nothing was done:
-- key_reused, or what send_text says.
create function send_once(
    of_project uuid, by_key text, hash bytea, at_time timestamptz, from_number uuid, to_contact text, countries text[], saying text,
    media jsonb, on_active text, new_message uuid, new_session uuid, new_turn uuid
) returns table (outcome text, message_id uuid, session_id uuid, send_at timestamptz, retry_after_seconds double precision)
language plpgsql
set search_path = textback, pg_temp as $$
declare
    kept record;
begin
    if by_key is not null then
        delete from idempotency_key
         where ctid = any (array(select ctid from idempotency_key where created_at < now() - interval '7 days'
                                  order by created_at limit 10 for update skip locked));
        insert into idempotency_key (project_id, key, request_hash, message_id) values (of_project, by_key, hash, new_message)
        on conflict on constraint idempotency_key_pk do nothing;
        if not found then
            -- Who came first has committed: the insert waited for it.
            select k.request_hash, k.message_id, k.session_id, k.send_at into kept
              from idempotency_key k where k.project_id = of_project and k.key = by_key;
            message_id := kept.message_id;
            session_id := kept.session_id;
            send_at := kept.send_at;
            outcome := case when kept.request_hash = hash then 'replayed' else 'key_reused' end;
            return next;
            return;
        end if;
    end if;

    message_id := new_message;
    if at_time > now() then
        perform lock_contact(from_number, to_contact);
        if has_opted_out(from_number, to_contact) then
            outcome := 'contact_opted_out';
        elsif not country_is_allowed(of_project, to_contact, countries) then
            outcome := 'country_not_allowed';
        else
            insert into scheduled_message (id, project_id, number_id, contact, countries, body, media_urls, on_active_session,
                                           heeds_quiet_hours, send_at, due_at)
            values (new_message, of_project, from_number, to_contact, countries, saying,
                    array(select item ->> 'url' from jsonb_array_elements(media) as media (item)), on_active, true, at_time, at_time);
            outcome := 'scheduled';
            send_at := at_time;
        end if;
    else
        select s.outcome, s.session_id, extract(epoch from s.until_at - now()) into outcome, session_id, retry_after_seconds
          from send_text(of_project, from_number, to_contact, countries, saying, media, on_active, null,
                         new_message, new_session, new_turn) s;
    end if;

    if outcome in ('sent', 'scheduled') then
        update idempotency_key k set session_id = send_once.session_id, send_at = send_once.send_at
         where k.project_id = of_project and k.key = by_key;
    else
        -- Nothing was done, so the key is free: the reason may be gone next time.
        delete from idempotency_key k where k.project_id = of_project and k.key = by_key;
    end if;
    return next;
end $$;

-- Sends scheduled messages that are due, at most `most` at a time. new_ids: two for each message, of a session and of a
-- turn. only_these: if not null, only these messages. The contact's lock is taken first, without waiting, and the job's
-- row is locked under it, as in decide_silences. A limit that ends within an hour delays an operator's text until then.
-- A longer limit refuses the text, because a day later it would mean something else. A text of an agent is refused at
-- once, because an agent in a loop would otherwise fill this table without end. Returns one row per job: sent, put_off
-- (quiet hours or a limit), or the reason for the refusal.
create function send_due(most integer, new_ids uuid[], only_these uuid[])
returns table (message_id uuid, project_id uuid, session_id uuid, outcome text, late_seconds double precision) language plpgsql
set search_path = textback, pg_temp as $$
declare
    job      record;
    place    integer := 0;
    quiet_to timestamptz;
    until_at timestamptz;
begin
    for job in
        select s.* from scheduled_message s
         where s.due_at <= now() and (only_these is null or s.id = any (only_these))
         order by s.due_at
         -- As in decide_silences.
         limit most::bigint * 4
    loop
        exit when place = most;
        if not try_lock_contact(job.number_id, job.contact) then
            continue;
        end if;
        -- Somebody else may have sent, cancelled or put it off since.
        perform from scheduled_message s where s.id = job.id and s.due_at <= now() for update skip locked;
        if not found then
            continue;
        end if;
        place := place + 1;
        message_id := job.id;
        project_id := job.project_id;
        session_id := null;
        late_seconds := extract(epoch from now() - job.due_at);
        quiet_to := case when job.heeds_quiet_hours then end_of_quiet(job.project_id, job.contact) end;
        if quiet_to is not null then
            outcome := 'put_off';
            update scheduled_message set due_at = quiet_to where id = job.id;
            return next;
            continue;
        end if;
        select s.outcome, s.session_id, s.until_at into outcome, session_id, until_at
          from send_text(job.project_id, job.number_id, job.contact, job.countries, job.body,
                         (select coalesce(jsonb_agg(jsonb_build_object('id', gen_random_uuid(), 'url', url)), '[]') from unnest(job.media_urls) url),
                         job.on_active_session, job.turn_id, job.id, new_ids[place * 2 - 1], new_ids[place * 2]) s;
        if outcome = 'sent' then
            delete from scheduled_message where id = job.id;
        elsif job.turn_id is null and until_at < now() + interval '1 hour 1 second' then
            outcome := 'put_off';
            update scheduled_message set due_at = until_at where id = job.id;
        else
            update scheduled_message set due_at = null, refused = outcome where id = job.id;
        end if;
        return next;
    end loop;
end $$;
