-- Ends the work of one row: closes the session of a turn or an inactivity job, fails a delivery,
-- refuses a scheduled message, checks a number again in an hour. by_token: the caller's claim.
-- Returns whether there was something to end.
create or replace function end_work(work text, of_row uuid, by_token uuid, why text) returns boolean language plpgsql
set search_path = textback, pg_temp as $$
declare
    step jsonb := delivery_step('failed', null, null, 'unreadable', why);
begin
    if work in ('turn', 'inactivity') then
        return set_session_aside(of_row, by_token);
    elsif work in ('delivery', 'unknown') then
        begin
            update delivery
               set status = 'failed', due_at = null, lease_token = null, leased_until = null, updated_at = now(),
                   error_class = 'unreadable', error_detail = why, history = append_step(history, step)
             where id = of_row and due_at is not null
               and (leased_until is null or leased_until < now() or lease_token = by_token);
        exception when data_exception or program_limit_exceeded or internal_error or integrity_constraint_violation then
            -- The history can't be read, so it begins again.
            update delivery
               set status = 'failed', due_at = null, lease_token = null, leased_until = null, updated_at = now(),
                   error_class = 'unreadable', error_detail = why, history = step
             where id = of_row and due_at is not null
               and (leased_until is null or leased_until < now() or lease_token = by_token);
        end;
        if not found then
            return false;
        end if;
        perform expedite_inactivity(of_row);
        return true;
    elsif work = 'scheduled_message' then
        update scheduled_message set due_at = null, refusal_reason = 'unreadable' where id = of_row and due_at is not null;
    elsif work = 'number' then
        update number set check_at = now() + interval '1 hour', lease_token = null, leased_until = null
         where id = of_row and check_at is not null and (leased_until is null or leased_until < now() or lease_token = by_token);
    elsif work = 'backfill' then
        update number set backfill_at = now() + interval '1 hour' where id = of_row and backfill_at is not null;
    end if;
    return found;
end $$;
