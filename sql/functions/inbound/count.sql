-- Counts a batch of inbound messages, but for keywords, in the current minute of their projects that have a limit.
-- Returns by project how many messages of the batch are within the limit. It locks the projects' windows until the
-- transaction ends, in the order of all callers, who hold their contacts' locks.
create or replace function count_inbound(messages inbound_message[]) returns jsonb language plpgsql
set search_path = textback, pg_temp as $$
declare
    batch      record;
    counted    integer;
    allowances jsonb := '{}';
begin
    for batch in
        select m.project_id, count(*)::integer as size, project.texts_per_project_per_minute as most
          from unnest(messages) m
          join project on project.id = m.project_id and project.texts_per_project_per_minute > 0
         where not m.is_keyword
         group by m.project_id, project.texts_per_project_per_minute
         order by m.project_id
    loop
        insert into inbound_rate_window as known (project_id, minute, texts)
        values (batch.project_id, date_trunc('minute', now()), batch.size)
        on conflict on constraint a_project_has_one_inbound_rate_window do update
           set texts = case when known.minute = excluded.minute then known.texts + excluded.texts else excluded.texts end,
               minute = excluded.minute
        returning texts into counted;
        allowances := allowances
            || jsonb_build_object(batch.project_id, greatest(0, least(batch.size, batch.most - (counted - batch.size))));
    end loop;
    return allowances;
end $$;
