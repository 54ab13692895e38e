-- Counts messages that are to be answered in the current minute of their projects, which have a
-- limit. Returns by project how many of them are within the limit. It locks the projects' windows
-- until the transaction ends, in the order of all callers, who hold their contacts' locks.
create or replace function count_inbound(projects uuid[], counts integer[])
returns table (project_id uuid, within integer) language plpgsql
set search_path = textback, pg_temp as $$
declare
    batch   record;
    counted integer;
begin
    for batch in
        select project.id, counting.count, project.texts_per_project_per_minute as most
          from unnest(projects, counts) as counting (id, count)
          join project on project.id = counting.id
         order by project.id
    loop
        insert into inbound_rate_window as known (project_id, minute, texts)
        values (batch.id, date_trunc('minute', now()), batch.count)
        on conflict on constraint a_project_has_one_inbound_rate_window do update
           -- A transaction that began in the minute before may come later.
           set texts = case when known.minute >= excluded.minute then known.texts + excluded.texts else excluded.texts end,
               minute = greatest(known.minute, excluded.minute)
        returning texts into counted;
        project_id := batch.id;
        within := greatest(0, least(batch.count, batch.most - (counted - batch.count)));
        return next;
    end loop;
end $$;
