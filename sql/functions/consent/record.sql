-- Records for an operator what a contact wants: opted_out or opted_in. It takes the contact's lock.
create or replace function record_consent(
    new_id uuid, of_project uuid, of_endpoint uuid, of_contact text, wants text, note text, on_channel text
) returns void language plpgsql
set search_path = textback, pg_temp as $$
begin
    perform lock_contact(of_endpoint, of_contact);
    if wants = 'opted_out' then
        perform opt_out(new_id, of_project, of_endpoint, of_contact, 'operator', note, null, on_channel);
    else
        insert into consent (id, project_id, endpoint_id, contact, kind, source, said, recorded_at)
        values (new_id, of_project, of_endpoint, of_contact, 'opted_in', 'operator', note, clock_timestamp());
    end if;
end $$;
