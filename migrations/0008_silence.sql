-- Silence: when a scheduled job is due, the rows decide, under the same lock under which texts come in.

-- The lock of a number and a contact, if nobody has it: see lock_contact.
create function try_lock_contact(of_number uuid, of_contact text) returns boolean language plpgsql
set search_path = textback, pg_temp as $$
begin
    return pg_try_advisory_xact_lock(hashtextextended(of_number::text || ' ' || of_contact, 0));
end $$;

-- Looks at sessions whose job is due, `most` at a time: warns, ends, or moves the job to when it is worth looking again.
-- new_ids: one message id for each job. only_these: if not null, only these sessions.
--
-- The contact's lock is taken first, as everywhere, and without waiting: a transaction that holds it is about to write
-- a text, and the job stays due. A job's row is locked only under the contact's lock. Otherwise a transaction that
-- waits for a job's row could hold the rows of a project's count (see count_outbound).
--
-- Returns one row per job: warned, ended or moved; how late it was; whether a delivery was planned; the limit that
-- suppressed it.
create function decide_silences(most integer, new_ids uuid[], only_these uuid[])
returns table (session_id uuid, project_id uuid, outcome text, late_seconds double precision, planned boolean, refused text) language plpgsql
set search_path = textback, pg_temp as $$
declare
    job         record;
    held        record;
    warning     record;
    place       integer := 0;
    text_kind   text;
    text_body   text;
    -- When what is to be done has to be done, or is worth looking at again.
    due         timestamptz;
    quiet_to    timestamptz;
    this_time   timestamptz := now();
begin
    for job in
        select silence.session_id, session.number_id, session.contact
          from silence
          join session on session.id = silence.session_id
         where silence.due_at <= now() and (only_these is null or silence.session_id = any (only_these))
         order by silence.due_at
         -- Another worker may be at the first of them: it holds their contacts, and this one goes on to the next.
         limit most::bigint * 4
    loop
        exit when place = most;
        if not try_lock_contact(job.number_id, job.contact) then
            continue;
        end if;
        -- Somebody else may have decided about it since.
        perform from silence where silence.session_id = job.session_id and silence.due_at <= this_time for update skip locked;
        if not found then
            continue;
        end if;
        place := place + 1;

        select session.id, session.project_id, session.status, session.last_message_at,
               session.warn_after_seconds, make_interval(secs => session.warn_after_seconds) as warn_after,
               make_interval(secs => version.grace_seconds) as grace, version.warning, version.closing
          into held
          from session
          join agent on agent.id = session.agent_id
          join agent_version version on version.agent_id = agent.id and version.version = agent.current_version
         where session.id = job.session_id
           for update of session;
        session_id := held.id;
        project_id := held.project_id;
        outcome := 'moved';
        late_seconds := 0;
        planned := false;
        refused := null;
        text_kind := null;

        if held.status = 'open' then
            due := held.last_message_at + held.warn_after;
            if due <= this_time then
                if exists (select from turn where turn.session_id = held.id)
                   or exists (select from delivery
                               where delivery.number_id = job.number_id and delivery.contact = job.contact
                                 and delivery.due_at is not null) then
                    -- It is not the person who is silent: we owe them an answer. The longer already, the longer it may
                    -- take: so a carrier that is away for hours makes no storm of looks.
                    due := this_time + least(greatest(this_time - due, interval '1 second'), interval '1 minute');
                else
                    quiet_to := end_of_quiet(held.project_id, job.contact);
                    if quiet_to is null then
                        outcome := 'warned';
                        text_kind := 'warning';
                        text_body := held.warning;
                    else
                        due := quiet_to;
                    end if;
                end if;
            end if;
        else
            select delivery.status, delivery.accepted_at into warning
              from message join delivery on delivery.id = message.id
             where message.session_id = held.id and message.kind = 'warning'
             order by message.seq desc
             limit 1;
            if warning.status in ('failed', 'suppressed') then
                -- Who was not warned is not told of the end either.
                outcome := 'ended';
                due := this_time;
            else
                -- Not with the carrier yet: then the grace has not begun, and ends no earlier than this.
                due := coalesce(warning.accepted_at, this_time) + held.grace;
                if due <= this_time then
                    outcome := 'ended';
                    -- The end keeps its time; a word that would wake somebody is not said.
                    if held.closing is not null and end_of_quiet(held.project_id, job.contact) is null then
                        text_kind := 'closing';
                        text_body := held.closing;
                    end if;
                end if;
            end if;
        end if;

        if text_kind is not null then
            refused := plan_message(new_ids[place], held.project_id, held.id, job.number_id, job.contact, text_kind, text_body, null,
                                    case when text_kind = 'warning' then held.warn_after_seconds end, null, false);
            planned := true;
        end if;

        if outcome = 'moved' then
            update silence set due_at = due where silence.session_id = held.id;
        else
            late_seconds := extract(epoch from this_time - due);
            if outcome = 'warned' then
                update session set status = 'warned', warned_at = now() where id = held.id;
                -- A warning that may not leave at all ends the session as one that can't arrive does: at once.
                update silence
                   set due_at = case when exists (select from delivery where id = new_ids[place] and status in ('failed', 'suppressed'))
                                     then this_time else this_time + held.grace end
                 where silence.session_id = held.id;
            else
                perform close_session(held.id, 'timed_out');
            end if;
        end if;
        return next;
    end loop;
end $$;

-- Moves the clock of one session that is not closed: everything in it happened so much earlier. For people and stories who
-- can't wait; no clock of any machine is touched. Answers whether there was one.
create function skip_session(of_project uuid, of_session uuid, by_seconds double precision) returns boolean language plpgsql
set search_path = textback, pg_temp as $$
declare
    held    record;
    by_time interval := make_interval(secs => by_seconds);
begin
    select number_id, contact into held from session where project_id = of_project and id = of_session;
    if not found then
        return false;
    end if;
    -- As everybody who is about to change what is between a number and a contact.
    perform lock_contact(held.number_id, held.contact);
    update session
       set opened_at = opened_at - by_time, started_at = started_at - by_time,
           last_message_at = last_message_at - by_time, warned_at = warned_at - by_time
     where id = of_session and status <> 'closed';
    if not found then
        return false;
    end if;
    update message set created_at = created_at - by_time where message.session_id = of_session;
    update delivery
       set created_at = created_at - by_time, accepted_at = accepted_at - by_time,
           attempted_at = attempted_at - by_time, updated_at = updated_at - by_time
     where delivery.session_id = of_session;
    update silence set due_at = due_at - by_time where silence.session_id = of_session;
    update outbound_pace set short_began = short_began - by_time, day_began = day_began - by_time
     where outbound_pace.project_id = of_project and outbound_pace.contact = held.contact;
    return true;
end $$;
