-- Sends scheduled messages that are due, at most `most` at a time. new_ids: two for each message, of a session and of a
-- turn. only_these: if not null, only these messages.
-- It takes the contact's lock first, without waiting, and locks the job's row under it, as lock_due_inactivity does. A
-- limit that ends within an hour delays an operator's message until then. A longer limit refuses it, because a day
-- later it would mean something else. A message of an agent is refused at once, because an agent in a loop would
-- otherwise fill this table without end.
-- Returns one row per message: sent, put_off (quiet hours or a limit), or the reason for the refusal.
create or replace function send_due_messages(most integer, new_ids uuid[], only_these uuid[])
returns table (message_id uuid, project_id uuid, session_id uuid, outcome text, late_seconds double precision) language plpgsql
set search_path = textback, pg_temp as $$
declare
    job      record;
    handled  integer := 0;
    quiet_to timestamptz;
    until_at timestamptz;
begin
    for job in
        select s.* from scheduled_message s
         where s.due_at <= now() and (only_these is null or s.id = any (only_these))
         order by s.due_at
         -- As in lock_due_inactivity.
         limit most::bigint * 4
    loop
        exit when handled = most;
        if not try_lock_contact(job.number_id, job.contact) then
            continue;
        end if;
        -- Another transaction may have sent, cancelled or delayed it meanwhile.
        perform from scheduled_message s where s.id = job.id and s.due_at <= now() for update skip locked;
        if not found then
            continue;
        end if;
        handled := handled + 1;
        message_id := job.id;
        project_id := job.project_id;
        session_id := null;
        late_seconds := extract(epoch from now() - job.due_at);
        quiet_to := case when job.heeds_quiet_hours then quiet_hours_end(job.project_id, job.contact) end;
        if quiet_to is not null then
            outcome := 'put_off';
            update scheduled_message set due_at = quiet_to where id = job.id;
            return next;
            continue;
        end if;
        select s.outcome, s.session_id, s.until_at into outcome, session_id, until_at
          from send_text(job.project_id, job.number_id, job.contact, job.countries, job.body,
                         (select coalesce(jsonb_agg(jsonb_build_object('id', gen_random_uuid(), 'url', url)), '[]') from unnest(job.media_urls) url),
                         job.on_active_session, job.turn_id, job.id, new_ids[handled * 2 - 1], new_ids[handled * 2]) s;
        if outcome = 'sent' then
            delete from scheduled_message where id = job.id;
        elsif job.turn_id is null and until_at < now() + interval '1 hour 1 second' then
            outcome := 'put_off';
            update scheduled_message set due_at = until_at where id = job.id;
        else
            update scheduled_message set due_at = null, refusal_reason = outcome where id = job.id;
        end if;
        return next;
    end loop;
end $$;
