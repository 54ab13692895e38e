-- Applies a keyword of a contact: stop, start or help. The caller holds the contact's lock, and the keyword is a
-- message of the session. said_at: the time of a keyword that was backfilled; it does not override what was recorded
-- later.
create or replace function apply_keyword(
    word text, of_session uuid, to_number uuid, of_project uuid, of_contact text, was_said text, in_message uuid,
    said_at timestamptz, new_consent uuid, help_message_id uuid
) returns void language plpgsql
set search_path = textback, pg_temp as $$
declare
    help text;
begin
    -- A backfilled keyword does not override what was recorded after it.
    if word in ('stop', 'start')
       and exists (select from consent where number_id = to_number and contact = of_contact and recorded_at > said_at) then
        return;
    end if;
    if word = 'stop' then
        perform opt_out(new_consent, of_project, to_number, of_contact, 'keyword', was_said, in_message);
    elsif word = 'start' then
        insert into consent (id, project_id, number_id, contact, kind, source, said, message_id, recorded_at)
        values (new_consent, of_project, to_number, of_contact, 'opted_in', 'keyword', left(was_said, 1600), in_message, clock_timestamp());
    elsif word = 'help' then
        select help_message into help from project where id = of_project;
        -- Once a minute, so two machines don't answer each other for ever.
        if help is not null
           and not exists (select from message
                            where session_id = of_session and kind = 'help' and created_at > now() - interval '1 minute') then
            perform plan_message(help_message_id, of_project, of_session, to_number, of_contact, 'help', help, null, null, null, false);
        end if;
    end if;
end $$;
