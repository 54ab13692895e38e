-- Removes messages from the count that were planned at planned_at and cancelled before they were
-- sent. With a null to_contact, only from the project's count.
create or replace function uncount_outbound(of_project uuid, to_contact text, fewer integer, planned_at timestamptz) returns void language plpgsql
set search_path = textback, pg_temp as $$
declare
    of_contact text;
begin
    -- The project's row first, as all callers lock it.
    foreach of_contact in array array['', to_contact] loop
        update outbound_rate_window
           set short_sent = case when planned_at >= short_began then greatest(short_sent - fewer, 0) else short_sent end,
               day_sent = case when planned_at >= day_began then greatest(day_sent - fewer, 0) else day_sent end
         where project_id = of_project and outbound_rate_window.contact = of_contact;
    end loop;
end $$;
