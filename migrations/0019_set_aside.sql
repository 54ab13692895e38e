-- Finds a row that makes claims fail and sets it aside, so that it does not affect other rows.

-- The rows that were set aside. An operator deletes a row here after a look at it. doctor reports them.
create table unreadable_row (
    -- The kind of work, and the id of its row: a session for a turn and a silence, a message for a sending, or a
    -- number.
    work       text        not null,
    row_id     uuid        not null,
    project_id uuid        not null constraint unreadable_row_belongs_to_a_project references project (id),
    why        text        not null,
    times      integer     not null default 1,
    first_at   timestamptz not null default now(),
    last_at    timestamptz not null default now(),
    constraint unreadable_row_pk primary key (work, row_id)
);

-- The due rows of a kind of work that no worker holds, the oldest first, as the claim of that kind takes them: without
-- the owners and projects in barred. Reads only the columns of the queue, so it also finds a row whose other columns
-- can't be read.
create function due_of(work text, most integer, barred uuid[]) returns uuid[] language plpgsql
set search_path = textback, pg_temp as $$
begin
    return case work
        when 'turn' then array(
            select session_id from turn
             where due_at <= now() and (leased_until is null or leased_until < now())
               and agent_id <> all (barred) and project_id <> all (barred)
             order by due_at limit most)
        when 'delivery' then array(
            select id from delivery
             where due_at is not null and status = 'sending' and leased_until < now()
             order by due_at limit most)
            || array(
            select id from delivery d
             where due_at <= now() and status = 'planned' and project_id <> all (barred)
               -- As the claim does: it never comes to one that has to wait for an earlier one.
               and (select earlier.seq from delivery earlier
                     where earlier.number_id = d.number_id and earlier.contact = d.contact
                       and earlier.due_at is not null and earlier.seq < d.seq
                     limit 1) is null
             order by due_at limit most)
        when 'unknown' then array(
            select id from delivery
             where due_at <= now() and status = 'unknown' and (leased_until is null or leased_until < now())
               and project_id <> all (barred)
             order by due_at limit most)
        when 'silence' then array(
            select session_id from silence where due_at <= now() order by due_at limit most)
        when 'scheduled_message' then array(
            select id from scheduled_message where due_at <= now() order by due_at limit most)
        when 'number' then array(
            select id from number
             where detached_at is null and check_at <= now() and (leased_until is null or leased_until < now())
               and project_id <> all (barred)
             order by check_at limit most)
        when 'read_back' then array(
            select id from number
             where detached_at is null and read_back_at <= now() and project_id <> all (barred)
             order by read_back_at limit most)
    end;
end $$;

-- Copies a session's state to quarantine as text, if it can be printed within 16 MB.
create function keep_state(of_session uuid) returns void language plpgsql
set search_path = textback, pg_temp as $$
begin
    insert into quarantine (id, project_id, kind, reason, form)
    select gen_random_uuid(), session.project_id, 'session_state', 'session_unreadable: ' || session.id, convert_to(printed.state, 'UTF8')
      from session cross join lateral (select session.state::text as state offset 0) printed
     where session.id = of_session and printed.state <> '{}' and octet_length(printed.state) <= 16777216;
exception
    -- The state itself is what can't be read.
    when program_limit_exceeded or insufficient_resources or data_exception or internal_error then null;
end $$;

-- Closes a session that can't be read, and marks its waiting messages as skipped. Its state moves to quarantine,
-- because otherwise lists of sessions could not be read either. The contact's next text opens a new session.
create function set_session_aside(of_session uuid, by_token uuid) returns boolean language plpgsql
set search_path = textback, pg_temp as $$
declare
    held record;
begin
    select number_id, contact into held from session where id = of_session;
    if not found then
        delete from turn where turn.session_id = of_session;
        return found;
    end if;
    perform lock_contact(held.number_id, held.contact);
    select handled_seq, status into held from session where id = of_session for update;
    perform from turn
      where turn.session_id = of_session and turn.leased_until >= now() and turn.lease_token is distinct from by_token;
    if found then
        return false;
    end if;
    if held.status = 'closed' then
        -- Its work should not be there: see invariants 4 and 9.
        delete from silence where silence.session_id = of_session;
        delete from turn where turn.session_id = of_session;
        return found;
    end if;
    update message set skip_reason = 'unreadable'
     where session_id = of_session and direction = 'inbound' and seq > held.handled_seq and skip_reason is null;
    perform keep_state(of_session);
    update session set state = '{}' where id = of_session;
    perform close_session(of_session, 'unreadable');
    return true;
end $$;

-- Ends the work of one row: closes the session of a turn or a silence, fails a delivery, refuses a scheduled message,
-- checks a number again in an hour. Returns whether there was something to end.
create function end_work(work text, of_row uuid, by_token uuid, why text) returns boolean language plpgsql
set search_path = textback, pg_temp as $$
declare
    step jsonb := delivery_step('failed', null, null, 'unreadable', why);
begin
    if work in ('turn', 'silence') then
        return set_session_aside(of_row, by_token);
    elsif work in ('delivery', 'unknown') then
        begin
            update delivery
               set status = 'failed', due_at = null, lease_token = null, leased_until = null, updated_at = now(),
                   error_class = 'unreadable', error_detail = why, history = with_step(history, step)
             where id = of_row and due_at is not null
               and (leased_until is null or leased_until < now() or lease_token = by_token);
        exception when data_exception or program_limit_exceeded or internal_error or integrity_constraint_violation then
            -- Its history is what can't be read.
            update delivery
               set status = 'failed', due_at = null, lease_token = null, leased_until = null, updated_at = now(),
                   error_class = 'unreadable', error_detail = why, history = step
             where id = of_row and due_at is not null
               and (leased_until is null or leased_until < now() or lease_token = by_token);
        end;
        if not found then
            return false;
        end if;
        perform hasten_silence(of_row);
        return true;
    elsif work = 'scheduled_message' then
        update scheduled_message set due_at = null, refused = 'unreadable' where id = of_row and due_at is not null;
    elsif work = 'number' then
        update number set check_at = now() + interval '1 hour', lease_token = null, leased_until = null
         where id = of_row and (leased_until is null or leased_until < now() or lease_token = by_token);
    elsif work = 'read_back' then
        update number set read_back_at = now() + interval '1 hour' where id = of_row;
    end if;
    return found;
end $$;

-- Sets one row of a kind of work aside (see end_work), and stores the reason. by_token: the caller's own claim of the
-- row, if it has one. Returns false if another worker holds the row or has already ended its work.
create function set_aside(work text, of_row uuid, by_token uuid, why text) returns boolean language plpgsql
set search_path = textback, pg_temp as $$
begin
    if not end_work(work, of_row, by_token, why) then
        return false;
    end if;
    insert into unreadable_row as known (work, row_id, project_id, why)
    select set_aside.work, of_row, owner.project_id, set_aside.why
      from (select project_id from session where set_aside.work in ('turn', 'silence') and id = of_row
            union all
            select project_id from delivery where set_aside.work in ('delivery', 'unknown') and id = of_row
            union all
            select project_id from scheduled_message where set_aside.work = 'scheduled_message' and id = of_row
            union all
            select project_id from number where set_aside.work in ('number', 'read_back') and id = of_row) owner
    on conflict on constraint unreadable_row_pk do update
       set times = known.times + 1, last_at = now(), why = excluded.why;
    return true;
end $$;
