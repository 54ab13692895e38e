-- Freezes the final hours of rows that are deleted, so that their counts outlive them. $TG_ARGV:
-- the columns with the times by which they count. Hours that are not final, or were never counted,
-- are counted without the rows.
create or replace function freeze_hours() returns trigger language plpgsql
set search_path = textback, pg_temp as $$
begin
    for argument in 0 .. tg_nargs - 1 loop
        execute format('insert into rollup_frozen (project_id, hour)
                        select distinct deleted.project_id, hour_of(deleted.%1$I)
                          from deleted
                         cross join rollup_progress
                         where deleted.%1$I >= rollup_progress.counted_from and deleted.%1$I < rollup_progress.settled_until
                        on conflict on constraint rollup_frozen_pk do nothing', tg_argv[argument]);
    end loop;
    return null;
end $$;

create or replace trigger counts_outlive_messages after delete on message
    referencing old table as deleted for each statement execute function freeze_hours('created_at');

create or replace trigger counts_outlive_deliveries after delete on delivery
    referencing old table as deleted for each statement execute function freeze_hours('created_at');

create or replace trigger counts_outlive_sessions after delete on session
    referencing old table as deleted for each statement execute function freeze_hours('opened_at', 'closed_at');

create or replace trigger counts_outlive_turns after delete on turn_without_message
    referencing old table as deleted for each statement execute function freeze_hours('finished_at');
