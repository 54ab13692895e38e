-- Decides about sessions whose inactivity job is due, `most` at a time: warns, ends, or moves the job to when it is
-- worth another look. new_ids: one message id for each job. only_these: if not null, only these sessions.
--
-- It takes the lock of each contact first, without waiting: a transaction that holds it is about to write a message,
-- and the job stays due. A job's row is locked only under the contact's lock. Otherwise a transaction that waits for a
-- job's row could hold the rows of a project's count (see count_outbound).
--
-- Returns one row per job: warned, ended or moved; how late it was; whether a delivery was planned; the limit that
-- suppressed it.
create or replace function decide_inactivity(most integer, new_ids uuid[], only_these uuid[])
returns table (session_id uuid, project_id uuid, outcome text, late_seconds double precision, planned boolean, refused text) language plpgsql
set search_path = textback, pg_temp as $$
declare
    job         record;
    locked        record;
    warning     record;
    handled     integer := 0;
    text_kind   text;
    text_body   text;
    -- When the action is due, or the session is worth another look.
    due         timestamptz;
    quiet_to    timestamptz;
    this_time   timestamptz := now();
begin
    for job in
        select inactivity.session_id, session.number_id, session.contact
          from inactivity
          join session on session.id = inactivity.session_id
         where inactivity.due_at <= now() and (only_these is null or inactivity.session_id = any (only_these))
         order by inactivity.due_at
         -- Another worker may hold the contacts of the first jobs; this one goes on to the next.
         limit most::bigint * 4
    loop
        exit when handled = most;
        if not try_lock_contact(job.number_id, job.contact) then
            continue;
        end if;
        -- Another worker may have decided about it meanwhile.
        perform from inactivity where inactivity.session_id = job.session_id and inactivity.due_at <= this_time for update skip locked;
        if not found then
            continue;
        end if;
        handled := handled + 1;

        select session.id, session.project_id, session.status, session.last_message_at,
               session.warn_after_seconds, make_interval(secs => session.warn_after_seconds) as warn_after,
               make_interval(secs => version.grace_seconds) as grace, version.warning, version.closing
          into locked
          from session
          join agent on agent.id = session.agent_id
          join agent_version version on version.agent_id = agent.id and version.version = agent.current_version
         where session.id = job.session_id
           for update of session;
        session_id := locked.id;
        project_id := locked.project_id;
        outcome := 'moved';
        late_seconds := 0;
        planned := false;
        refused := null;
        text_kind := null;

        if locked.status = 'open' then
            due := locked.last_message_at + locked.warn_after;
            if due <= this_time then
                if exists (select from turn where turn.session_id = locked.id)
                   or exists (select from delivery
                               where delivery.number_id = job.number_id and delivery.contact = job.contact
                                 and delivery.due_at is not null) then
                    -- We owe the contact an answer. The next look comes later each time, so a carrier that is away for hours
                    -- causes no storm of looks.
                    due := this_time + least(greatest(this_time - due, interval '1 second'), interval '1 minute');
                else
                    quiet_to := quiet_hours_end(locked.project_id, job.contact);
                    if quiet_to is null then
                        outcome := 'warned';
                        text_kind := 'warning';
                        text_body := locked.warning;
                    else
                        due := quiet_to;
                    end if;
                end if;
            end if;
        else
            select delivery.status, delivery.accepted_at into warning
              from message join delivery on delivery.id = message.id
             where message.session_id = locked.id and message.kind = 'warning'
             order by message.seq desc
             limit 1;
            if warning.status in ('failed', 'suppressed') then
                -- A contact who was not warned is not told of the end either.
                outcome := 'ended';
                due := this_time;
            else
                -- Until the carrier accepts the warning the grace has not begun, and ends no earlier than this.
                due := coalesce(warning.accepted_at, this_time) + locked.grace;
                if due <= this_time then
                    outcome := 'ended';
                    -- The session ends at its time, but during quiet hours without a message.
                    if locked.closing is not null and quiet_hours_end(locked.project_id, job.contact) is null then
                        text_kind := 'closing';
                        text_body := locked.closing;
                    end if;
                end if;
            end if;
        end if;

        if text_kind is not null then
            refused := plan_message(new_ids[handled], locked.project_id, locked.id, job.number_id, job.contact, text_kind, text_body, null,
                                    case when text_kind = 'warning' then locked.warn_after_seconds end, null, false);
            planned := true;
        end if;

        if outcome = 'moved' then
            update inactivity set due_at = due where inactivity.session_id = locked.id;
        else
            late_seconds := extract(epoch from this_time - due);
            if outcome = 'warned' then
                update session set status = 'warned', warned_at = now() where id = locked.id;
                -- A warning that failed or was suppressed ends the session at once.
                update inactivity
                   set due_at = case when exists (select from delivery where id = new_ids[handled] and status in ('failed', 'suppressed'))
                                     then this_time else this_time + locked.grace end
                 where inactivity.session_id = locked.id;
            else
                perform close_session(locked.id, 'timed_out');
            end if;
        end if;
        return next;
    end loop;
end $$;
