-- Who wants texts: what contacts and the carrier said about it, and what follows.

-- Append-only: what somebody once said stays said. The newest row of a number and a contact counts.
create table consent (
    id          uuid        not null constraint consent_pk primary key,
    seq         bigint      not null generated always as identity,
    project_id  uuid        not null constraint consent_belongs_to_a_project references project (id),
    number_id   uuid        not null constraint consent_is_given_to_a_number references number (id),
    contact     text        not null,
    kind        text        not null constraint consent_kind_is_known check (kind in ('opted_out', 'opted_in')),
    -- A keyword that the contact texted, a refusal of the carrier's (21610), or an operator.
    source      text        not null constraint consent_source_is_known check (source in ('keyword', 'carrier', 'operator')),
    -- What the contact texted, or an operator's note.
    said        text        constraint what_was_said_fits_a_text check (length(said) <= 1600),
    message_id  uuid,
    -- Drawn after everybody who was sending has come to an end, and not when the transaction began: see opt_out.
    recorded_at timestamptz not null
);

create index consent_newest_of_a_contact on consent (number_id, contact, seq);
create index consent_newest_of_a_project on consent (project_id, id);

create function refuse_change_of_consent() returns trigger language plpgsql
set search_path = textback, pg_temp as $$
begin
    raise exception 'consent is append-only: record what is true now instead'
        using errcode = 'TB002', constraint = 'consent_is_append_only';
end $$;

create trigger consent_is_append_only before update or delete on consent
    for each row execute function refuse_change_of_consent();

-- Whether a contact does not want texts from a number, as far as the asking statement sees.
create function has_opted_out(from_number uuid, to_contact text) returns boolean language plpgsql stable
set search_path = textback, pg_temp as $$
begin
    return coalesce((select kind = 'opted_out' from consent
                      where number_id = from_number and contact = to_contact order by seq desc limit 1), false);
end $$;

-- A contact wants no more texts: what is planned and scheduled is cancelled, the session ends without a word, and the
-- consent is written. The caller holds lock_contact.
--
-- Whoever plans a delivery holds that lock too. So each delivery that could still leave is either planned before this,
-- and suppressed here, or planned after this, and then the claim sees the consent. One that a worker is claiming right
-- now makes the update wait for that claim; the time of the consent is drawn after that, so it is later than the claim's.
create function opt_out(
    new_id uuid, of_project uuid, from_number uuid, of_contact text, by_source text, was_said text, in_message uuid
) returns void language plpgsql
set search_path = textback, pg_temp as $$
declare
    held      record;
    withdrawn record;
begin
    for withdrawn in
        update delivery
           set status = 'suppressed', due_at = null, updated_at = now(), error_class = 'opted_out',
               error_detail = 'the contact has opted out',
               history = with_step(history, delivery_step('suppressed', null, null, 'opted_out', 'the contact has opted out'))
         where number_id = from_number and contact = of_contact and due_at is not null and status = 'planned'
        returning created_at
    loop
        perform uncount_outbound(of_project, of_contact, 1, withdrawn.created_at);
    end loop;
    update scheduled_message set due_at = null, refused = 'contact_opted_out'
     where number_id = from_number and contact = of_contact and due_at is not null;
    for held in
        select id, handled_seq from session
         where number_id = from_number and contact = of_contact and channel = 'sms' and status <> 'closed'
           for update
    loop
        update message set skip_reason = 'opted_out'
         where session_id = held.id and direction = 'inbound' and seq > held.handled_seq and skip_reason is null;
        perform close_session(held.id, 'opted_out');
    end loop;
    insert into consent (id, project_id, number_id, contact, kind, source, said, message_id, recorded_at)
    values (new_id, of_project, from_number, of_contact, 'opted_out', by_source, left(was_said, 1600), in_message, clock_timestamp());
end $$;

-- The carrier refused a text because the contact has opted out (21610). It is not believed about somebody who opted in
-- after that text was on its way. The caller holds lock_contact.
create function believe_refusal(new_id uuid, of_delivery uuid) returns void language plpgsql
set search_path = textback, pg_temp as $$
declare
    held record;
begin
    select project_id, number_id, contact, attempted_at into held from delivery where id = of_delivery;
    if has_opted_out(held.number_id, held.contact)
       or exists (select from consent
                   where number_id = held.number_id and contact = held.contact and recorded_at > held.attempted_at) then
        return;
    end if;
    perform opt_out(new_id, held.project_id, held.number_id, held.contact, 'carrier', null, of_delivery);
end $$;

-- Does what a keyword asks for. The caller holds lock_contact, and the keyword is a message of the session.
create function obey_keyword(
    word text, of_session uuid, to_number uuid, of_project uuid, of_contact text, was_said text, in_message uuid,
    said_at timestamptz, new_consent uuid, help_message_id uuid
) returns void language plpgsql
set search_path = textback, pg_temp as $$
declare
    help text;
begin
    -- A keyword that was read back late says nothing about what was said after it.
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
        -- Once a minute: two robots must not explain themselves to each other for ever.
        if help is not null
           and not exists (select from message
                            where session_id = of_session and kind = 'help' and created_at > now() - interval '1 minute') then
            perform plan_message(help_message_id, of_project, of_session, to_number, of_contact, 'help', help, null, null, null, false);
        end if;
    end if;
end $$;

-- An operator records what a contact wants. Answers whether the number is one that the project has.
create function record_consent(
    new_id uuid, of_project uuid, from_number uuid, of_contact text, wants text, note text
) returns void language plpgsql
set search_path = textback, pg_temp as $$
begin
    perform lock_contact(from_number, of_contact);
    if wants = 'opted_out' then
        perform opt_out(new_id, of_project, from_number, of_contact, 'operator', note, null);
    else
        insert into consent (id, project_id, number_id, contact, kind, source, said, recorded_at)
        values (new_id, of_project, from_number, of_contact, 'opted_in', 'operator', note, clock_timestamp());
    end if;
end $$;
