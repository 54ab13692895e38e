-- When the carrier last said that a contact is a landline. Null if it never did, or if the contact
-- has texted since: who texts has no landline.
create or replace function landline_since(of_project uuid, of_contact text) returns timestamptz language plpgsql stable
set search_path = textback, pg_temp as $$
declare
    told timestamptz := (select max(updated_at) from delivery
                          where project_id = of_project and contact = of_contact and error_class = 'landline');
begin
    if told is null then
        return null;
    end if;
    return case when not exists (
        select from session
         cross join lateral (
               select from message
                where message.session_id = session.id and message.direction = 'inbound' and message.created_at > told limit 1) texted
         where session.project_id = of_project and session.contact = of_contact) then told end;
end $$;
