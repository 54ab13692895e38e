-- Silence: when a scheduled job is due, the rows decide, under the same lock under which texts come in.

-- The lock of a number and a contact, if nobody has it: see lock_contact.
create function try_lock_contact(of_number uuid, of_contact text) returns boolean language sql as $$
    select pg_try_advisory_xact_lock(hashtextextended(of_number::text || ' ' || of_contact, 0))
$$;

-- Looks at sessions whose job is due, `most` at a time: warns, ends, or moves the job to when it is worth looking again.
-- new_ids are two for each job: of a message and of its delivery.
--
-- The jobs' rows are locked first here and the contact last, the other way round than everywhere else; nobody waits
-- for that, since the contact's lock is only tried. Who has it is about to say something, and the job stays due.
--
-- Answers one row a job: warned, ended, or moved; how late it was; whether a delivery was planned.
create function decide_silences(most integer, new_ids uuid[])
returns table (session_id uuid, project_id uuid, outcome text, late_seconds double precision, planned boolean) language plpgsql as $$
declare
    job         record;
    held        record;
    warning     record;
    place       integer := 0;
    text_kind   text;
    text_body   text;
    message_seq bigint;
    -- When what is to be done has to be done, or is worth looking at again.
    due         timestamptz;
    this_time   timestamptz := now();
begin
    for job in
        select silence.session_id, session.number_id, session.contact
          from silence
          join session on session.id = silence.session_id
         where silence.due_at <= now()
         order by silence.due_at
         limit most
           for update of silence skip locked
    loop
        place := place + 1;
        if not try_lock_contact(job.number_id, job.contact) then
            continue;
        end if;

        select session.id, session.project_id, session.status, session.last_message_at,
               version.warn_after_seconds, make_interval(secs => version.warn_after_seconds) as warn_after,
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
                    outcome := 'warned';
                    text_kind := 'warning';
                    text_body := held.warning;
                end if;
            end if;
        else
            select delivery.status, delivery.accepted_at, delivery.error_class into warning
              from message join delivery on delivery.message_id = message.id
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
                    if held.closing is not null then
                        text_kind := 'closing';
                        text_body := held.closing;
                    end if;
                end if;
            end if;
        end if;

        if text_kind is not null then
            insert into message (id, project_id, session_id, direction, kind, body, silence_seconds)
            values (new_ids[place * 2 - 1], held.project_id, held.id, 'outbound', text_kind, text_body,
                    case when text_kind = 'warning' then held.warn_after_seconds end)
            returning seq into message_seq;
            insert into delivery (id, message_id, project_id, session_id, number_id, contact, seq, due_at)
            values (new_ids[place * 2], new_ids[place * 2 - 1], held.project_id, held.id, job.number_id, job.contact,
                    message_seq, now());
            planned := true;
        end if;

        if outcome = 'moved' then
            update silence set due_at = due where silence.session_id = held.id;
        else
            late_seconds := extract(epoch from this_time - due);
            if outcome = 'warned' then
                update session set status = 'warned', warned_at = now() where id = held.id;
                update silence set due_at = now() + held.grace where silence.session_id = held.id;
            else
                perform close_session(held.id, case when warning.error_class = 'opted_out' then 'opted_out' else 'timed_out' end);
            end if;
        end if;
        return next;
    end loop;
end $$;
