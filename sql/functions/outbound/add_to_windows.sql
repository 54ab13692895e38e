-- Adds messages to the rate limit windows of contacts, or of the project (''), for each all of its
-- messages or none. most, lasts: the limits and lengths of the shorter window and of the day. A
-- window that is over begins again. Returns the contacts whose messages were added; the others are
-- at a limit. One statement finds, locks and writes the rows by key, in one order. It waits for a
-- row that another transaction has just written, and then reads the new row, whatever its snapshot
-- shows. A row at a limit stays locked too.
create or replace function add_to_rate_windows(of_project uuid, contacts text[], mores integer[], most integer[], lasts interval[]) returns text[]
language plpgsql
set search_path = textback, pg_temp as $$
declare
    added     text[];
    this_time timestamptz := now();
begin
    with added_messages as (
        select of_contact, sum(more)::integer as more from unnest(contacts, mores) as w (of_contact, more) group by of_contact
    ), written as (
        insert into outbound_rate_window as known (project_id, contact, short_began, short_sent, day_began, day_sent)
        select of_project, of_contact, this_time, more, this_time, more
          from added_messages
         -- More messages than a limit never fit, so they must not begin a window.
         where (most[1] = 0 or more <= most[1]) and (most[2] = 0 or more <= most[2])
         order by of_contact
        on conflict on constraint outbound_rate_window_pk do update
           set short_began = case when this_time < known.short_began + lasts[1] then known.short_began else this_time end,
               short_sent  = case when this_time < known.short_began + lasts[1] then known.short_sent else 0 end + excluded.short_sent,
               day_began   = case when this_time < known.day_began + lasts[2] then known.day_began else this_time end,
               day_sent    = case when this_time < known.day_began + lasts[2] then known.day_sent else 0 end + excluded.day_sent
         where full_rate_window(most, array[known.short_began, known.day_began], array[known.short_sent, known.day_sent], lasts,
                           excluded.short_sent, this_time) is null
        returning contact
    )
    select coalesce(array_agg(contact), '{}') into added from written;
    return added;
end $$;
