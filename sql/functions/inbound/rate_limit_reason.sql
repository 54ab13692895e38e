-- The rate limit that an inbound message exceeds, or null. The caller holds the contact's lock. said: the body, or null
-- if the message can't be a repetition, as one with attachments.
-- It reads the messages of the last five minutes, also those of the contact's sessions just before this one, so an
-- agent that hangs up each time does not hide a loop.
create or replace function rate_limit_reason(of_session uuid, said text) returns text language plpgsql
set search_path = textback, pg_temp as $$
declare
    locked   record;
    recent uuid[] := array[of_session];
    of_recent uuid;
    seen   record;
    alike  integer := 0;
    passed integer := 0;
    in_all integer := 0;
begin
    select session.project_id, session.number_id, session.contact, session.paused_until, session.opened_at,
           session.last_message_at, session.previous_session_id,
           project.texts_per_contact_per_minute as most_a_minute, project.repeats_in_five_minutes as most_repeats
      into locked
      from session join project on project.id = session.project_id
     where session.id = of_session;
    if locked.paused_until > now() and locked.most_repeats > 0 then
        return 'paused';
    end if;
    if locked.last_message_at < now() - interval '5 minutes' or (locked.most_repeats = 0 and locked.most_a_minute = 0) then
        return null;
    end if;
    if locked.previous_session_id is not null and locked.opened_at > now() - interval '5 minutes' then
        recent := array(
            select id
              from (select id, number_id, last_message_at from session
                     where project_id = locked.project_id and contact = locked.contact order by id desc limit 100) latest
             where number_id = locked.number_id and last_message_at > now() - interval '5 minutes');
    end if;

    -- Row by row, newest first, so a long conversation costs no more than its last five minutes. A thousand rows are enough,
    -- because a contact with so many messages in a minute is over the limit.
    foreach of_recent in array recent loop
        for seen in
            select body, skip_reason, created_at from message
             where session_id = of_recent and direction = 'inbound' and kind = 'text'
             order by seq desc limit 1000
        loop
            exit when seen.created_at <= now() - interval '5 minutes';
            alike := alike + coalesce(seen.body = said, false)::integer;
            if seen.created_at > now() - interval '1 minute' then
                in_all := in_all + 1;
                passed := passed + (seen.skip_reason is null)::integer;
            end if;
        end loop;
    end loop;
    return case when locked.most_repeats > 0 and alike + 1 >= locked.most_repeats then 'repeats'
                when locked.most_a_minute > 0 and (passed >= locked.most_a_minute or in_all >= 1000) then 'contact_too_fast' end;
end $$;
