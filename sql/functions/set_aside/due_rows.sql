-- The due rows of a kind of work that no worker holds, oldest first, as the claim of that kind
-- takes them: without the owners and projects of excluded_ids. It reads only the columns of the
-- queue, so it also finds a row whose other columns can't be read. A kind that is not listed has no
-- rows that are set aside: its claim fails as a whole.
create or replace function due_rows(work text, most integer, excluded_ids uuid[]) returns uuid[] language plpgsql
set search_path = textback, pg_temp as $$
begin
    return case work
        when 'turn' then array(
            select session_id from turn
             where due_at <= now() and (leased_until is null or leased_until < now())
               and agent_id <> all (excluded_ids) and project_id <> all (excluded_ids)
             order by due_at limit most)
        when 'delivery' then array(
            select id from delivery
             where due_at is not null and status = 'sending' and leased_until < now()
             order by due_at limit most)
            || array(
            select id from delivery d
             where due_at <= now() and status = 'planned' and project_id <> all (excluded_ids)
               -- The claim never reads a delivery that waits for an earlier one.
               and (select earlier.seq from delivery earlier
                     where earlier.number_id = d.number_id and earlier.contact = d.contact
                       and earlier.due_at is not null and earlier.seq < d.seq
                     limit 1) is null
             order by due_at limit most)
        when 'unknown' then array(
            select id from delivery
             where due_at <= now() and status = 'unknown' and (leased_until is null or leased_until < now())
               and project_id <> all (excluded_ids)
             order by due_at limit most)
        when 'inactivity' then array(
            select session_id from inactivity where due_at <= now() order by due_at limit most)
        when 'scheduled_message' then array(
            select id from scheduled_message where due_at <= now() order by due_at limit most)
        when 'number' then array(
            select id from number
             where check_at <= now() and (leased_until is null or leased_until < now())
               and project_id <> all (excluded_ids)
             order by check_at limit most)
        when 'backfill' then array(
            select id from number
             where backfill_at <= now() and project_id <> all (excluded_ids)
             order by backfill_at limit most)
        else '{}'
    end;
end $$;
