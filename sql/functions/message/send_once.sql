-- Sends or schedules a text for an operator, once for an idempotency key. It takes the contact's lock.
-- Returns sent or scheduled; replayed when the key was used for the same request before; else why nothing was done:
-- key_reused, or a reason of send_text.
create or replace function send_once(
    of_project uuid, by_key text, hash bytea, at_time timestamptz, from_number uuid, to_contact text, countries text[], saying text,
    media jsonb, on_active text, new_message uuid, new_session uuid, new_turn uuid
) returns table (outcome text, message_id uuid, session_id uuid, send_at timestamptz, retry_after_seconds double precision)
language plpgsql
set search_path = textback, pg_temp as $$
declare
    kept record;
begin
    if by_key is not null then
        delete from idempotency_key
         where ctid = any (array(select ctid from idempotency_key where created_at < now() - interval '7 days'
                                  order by created_at limit 10 for update skip locked));
        insert into idempotency_key (project_id, key, request_hash, message_id) values (of_project, by_key, hash, new_message)
        on conflict on constraint idempotency_key_pk do nothing;
        if not found then
            -- The insert waited until the first request committed.
            select k.request_hash, k.message_id, k.session_id, k.send_at into kept
              from idempotency_key k where k.project_id = of_project and k.key = by_key;
            message_id := kept.message_id;
            session_id := kept.session_id;
            send_at := kept.send_at;
            outcome := case when kept.request_hash = hash then 'replayed' else 'key_reused' end;
            return next;
            return;
        end if;
    end if;

    message_id := new_message;
    if at_time > now() then
        perform lock_contact(from_number, to_contact);
        if has_opted_out(from_number, to_contact) then
            outcome := 'contact_opted_out';
        elsif not country_is_allowed(of_project, to_contact, countries) then
            outcome := 'country_not_allowed';
        else
            insert into scheduled_message (id, project_id, number_id, contact, countries, body, media_urls, on_active_session,
                                           heeds_quiet_hours, send_at, due_at)
            values (new_message, of_project, from_number, to_contact, countries, saying,
                    array(select item ->> 'url' from jsonb_array_elements(media) as media (item)), on_active, true, at_time, at_time);
            outcome := 'scheduled';
            send_at := at_time;
        end if;
    else
        select s.outcome, s.session_id, extract(epoch from s.until_at - now()) into outcome, session_id, retry_after_seconds
          from send_text(of_project, from_number, to_contact, countries, saying, media, on_active, null,
                         new_message, new_session, new_turn) s;
    end if;

    if outcome in ('sent', 'scheduled') then
        update idempotency_key k set session_id = send_once.session_id, send_at = send_once.send_at
         where k.project_id = of_project and k.key = by_key;
    else
        -- Nothing was done, so the key is free for another try.
        delete from idempotency_key k where k.project_id = of_project and k.key = by_key;
    end if;
    return next;
end $$;
