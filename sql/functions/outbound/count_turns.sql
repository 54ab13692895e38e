-- Counts the messages of turns, at most one turn a contact and a number. The messages of a turn are counted together. If they
-- do not all fit, they are counted one by one, and those that do not fit are returned: the position of the turn and of the
-- message, both from 1, and the limit that is reached. The caller holds the contacts' locks.
create or replace function count_turns(projects uuid[], contacts text[], messages integer[])
returns table (ordinal bigint, message integer, code text, detail text) language plpgsql
set search_path = textback, pg_temp as $$
declare
    of_project record;
    over       record;
    fitting    text[];
begin
    -- A project's windows are written once for all of its turns, in the order in which all callers lock them.
    for of_project in
        select t.project_id, array_agg(t.contact) as contacts, array_agg(t.messages) as messages
          from unnest(projects, contacts, messages) as t (project_id, contact, messages)
         group by t.project_id
         order by t.project_id
    loop
        fitting := count_outbound(of_project.project_id, of_project.contacts, of_project.messages);
        for over in
            select t.ordinal, t.contact, t.messages
              from unnest(projects, contacts, messages) with ordinality as t (project_id, contact, messages, ordinal)
             where t.project_id = of_project.project_id and t.contact <> all (fitting)
             order by t.contact, t.ordinal
        loop
            for n in 1 .. over.messages loop
                select refusal.code, refusal.detail into code, detail
                  from count_one_outbound(of_project.project_id, over.contact) refusal;
                if code is not null then
                    ordinal := over.ordinal;
                    message := n;
                    return next;
                end if;
            end loop;
        end loop;
    end loop;
end $$;
