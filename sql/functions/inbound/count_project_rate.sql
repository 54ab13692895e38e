-- Counts inbound messages of a project in the current minute of the clock. Returns how many of them are within the
-- limit (most). It locks the project's row until the transaction ends, so callers count before they lock contacts, in
-- the order of projects.
create or replace function count_project_rate(of_project uuid, more integer, most integer) returns integer language plpgsql
set search_path = textback, pg_temp as $$
declare
    counted integer;
begin
    insert into inbound_rate_window as known (project_id, minute, texts) values (of_project, date_trunc('minute', now()), more)
    on conflict on constraint a_project_has_one_inbound_rate_window do update
       set texts = case when known.minute = excluded.minute then known.texts + more else more end, minute = excluded.minute
    returning texts into counted;
    return least(more, most - (counted - more));
end $$;
