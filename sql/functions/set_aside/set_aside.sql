-- Sets one row of a kind of work aside (see end_work), and stores the reason. by_token: the
-- caller's own claim of the row, if it has one. Returns false if another worker holds the row or
-- has already ended its work.
create or replace function set_aside(work text, of_row uuid, by_token uuid, why text) returns boolean language plpgsql
set search_path = textback, pg_temp as $$
begin
    if not end_work(work, of_row, by_token, why) then
        return false;
    end if;
    insert into unreadable_row as known (work, row_id, project_id, why)
    select set_aside.work, of_row, owner.project_id, set_aside.why
      from (select project_id from session where set_aside.work in ('turn', 'inactivity') and id = of_row
            union all
            select project_id from delivery where set_aside.work in ('delivery', 'unknown') and id = of_row
            union all
            select project_id from scheduled_message where set_aside.work = 'scheduled_message' and id = of_row
            union all
            select project_id from number where set_aside.work in ('number', 'backfill') and id = of_row) owner
    on conflict on constraint unreadable_row_pk do update
       set times = known.times + 1, last_at = now(), why = excluded.why;
    return true;
end $$;
