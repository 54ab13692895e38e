-- Marks the hours that a row had and has by a column, $TG_ARGV[0], when they may be final (see
-- mark_late_rows). The conditions of the triggers keep other rows from calling it. date_bin in them
-- is hour_of, which would be parsed for each statement. Rows are compared one by one, because a
-- table of all changed rows would copy the histories of deliveries.
create or replace function mark_late_change() returns trigger language plpgsql
set search_path = textback, pg_temp as $$
begin
    execute format('insert into rollup_mark (hour)
                    select distinct hour_of(version.at) from (values (($1).%1$I), (($2).%1$I)) version (at) where version.at is not null', tg_argv[0])
      using old, new;
    return null;
end $$;

create or replace trigger late_changes_of_messages_are_counted after update of created_at, skip_reason, session_id on message
    for each row when (least(old.created_at, new.created_at) < date_bin('1 hour', clock_timestamp() - interval '5 minutes', timestamptz '2000-01-01 00:00:00+00'))
    execute function mark_late_change('created_at');

create or replace trigger late_changes_of_deliveries_are_counted after update on delivery
    for each row when (least(old.created_at, new.created_at) < date_bin('1 hour', clock_timestamp() - interval '5 minutes', timestamptz '2000-01-01 00:00:00+00'))
    execute function mark_late_change('created_at');

create or replace trigger late_turns_are_counted after insert on turn_without_message
    for each row when (new.finished_at < date_bin('1 hour', clock_timestamp() - interval '5 minutes', timestamptz '2000-01-01 00:00:00+00'))
    execute function mark_late_change('finished_at');
