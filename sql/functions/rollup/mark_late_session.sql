-- Marks the hours of a session of which something changed when they may be final (see
-- mark_late_rows): that of its opening when the contact replied first, that of its warning when it
-- is no longer warned, and that of its end when it was moved there. The states of sessions are
-- large, so no table of all changed rows is made.
create or replace function mark_late_session() returns trigger language plpgsql
set search_path = textback, pg_temp as $$
declare
    may_be_final timestamptz := hour_of(clock_timestamp() - interval '5 minutes');
    changed      timestamptz[] := '{}';
begin
    if tg_op = 'INSERT' then
        changed := array[new.opened_at, new.closed_at];
    else
        if old.opened_at <> new.opened_at or old.engaged <> new.engaged then
            changed := changed || old.opened_at || new.opened_at || new.closed_at;
        end if;
        if old.warned_at is distinct from new.warned_at or (old.status = 'warned' and new.status <> 'warned') then
            changed := changed || old.warned_at || new.warned_at;
        end if;
        if old.closed_at is distinct from new.closed_at then
            changed := changed || old.closed_at || new.closed_at;
        end if;
    end if;
    insert into rollup_mark (hour) select distinct hour_of(at) from unnest(changed) at where at < may_be_final;
    return null;
end $$;

create or replace trigger late_sessions_are_counted after insert on session
    for each row when (new.opened_at < date_bin('1 hour', clock_timestamp() - interval '5 minutes', timestamptz '2000-01-01 00:00:00+00'))
    execute function mark_late_session();

create or replace trigger late_changes_of_sessions_are_counted after update of opened_at, closed_at, engaged, warned_at, status on session
    for each row when (old.engaged <> new.engaged or old.opened_at <> new.opened_at or old.warned_at is distinct from new.warned_at
                       or old.closed_at is distinct from new.closed_at)
    execute function mark_late_session();
