-- Marks the hours of messages or deliveries that were stored, or changed, after these hours may
-- have become final. An hour is final at the earliest 5 minutes after its end: see rollup/load.sql.
-- The clock, because now() is the start of a transaction that may be old.
create or replace function mark_late_rows() returns trigger language plpgsql
set search_path = textback, pg_temp as $$
declare
    may_be_final timestamptz := hour_of(clock_timestamp() - interval '5 minutes');
    oldest       timestamptz;
begin
    select min(created_at) into oldest from changed;
    if oldest < may_be_final then
        insert into rollup_mark (hour)
        select distinct hour_of(changed.created_at) from changed where changed.created_at < may_be_final;
    end if;
    return null;
end $$;

create or replace trigger late_messages_are_counted after insert on message
    referencing new table as changed for each statement execute function mark_late_rows();

create or replace trigger late_deliveries_are_counted after insert on delivery
    referencing new table as changed for each statement execute function mark_late_rows();
