-- Counts messages that are about to be planned: so many to each of these contacts. Those to a
-- contact are counted together. If they do not all fit, they are counted one by one, and those that
-- do not fit are returned: the position of the contact and of the message, both from 1, and the
-- limit that is reached. The caller holds the contacts' locks.
create or replace function count_messages(projects uuid[], contacts text[], messages integer[])
returns table (ordinal bigint, message integer, full_limit text, most integer, until_at timestamptz) language plpgsql
set search_path = textback, pg_temp as $$
declare
    of_project record;
    over       record;
    fitting    text[];
begin
    -- A project's windows are written once for all of its messages, in the order in which all
    -- callers lock them.
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
                select one.full_limit, one.most, one.until_at into full_limit, most, until_at
                  from count_one_outbound(of_project.project_id, over.contact) one;
                if full_limit is not null then
                    ordinal := over.ordinal;
                    message := n;
                    return next;
                end if;
            end loop;
        end loop;
    end loop;
end $$;
