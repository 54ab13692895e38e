-- Work that is waiting. Both tables carry leases by the database's clock: a worker that dies
-- loses its lease, one that comes back late finds its token gone.

-- The turn of a session that has unhandled messages. The row is the mark of work: it appears
-- with the message and goes when the turn settles, so the table stays as small as the backlog.
create table turn (
    -- No foreign key: it is only ever taken from a session's row that the same transaction has locked or made, sessions are never deleted,
    -- and looking it up again for each text was 3 % of all that a text costs here. Invariant 4 looks.
    session_id   uuid        not null constraint a_session_has_one_turn_at_a_time primary key,
    -- Stays the same over all attempts.
    id           uuid        not null,
    -- The session's project and agent, because a claim takes only so many turns of one project and of one agent.
    project_id   uuid        not null,
    agent_id     uuid        not null,
    -- The newest message that this turn answers, fixed when it is claimed first.
    seen_seq     bigint,
    due_at       timestamptz not null,
    -- Counted when it is claimed, before the agent runs: a text that kills its worker counts too.
    attempts     integer     not null default 0,
    -- How often the agent failed at it: what else ended an attempt is not its fault.
    failures     integer     not null default 0,
    -- How often the process that ran the agent ended for an unknown reason. After too many times the turn is given up.
    interruptions integer    not null default 0,
    lease_token  uuid,
    leased_until timestamptz,
    last_error   text,
    created_at   timestamptz not null default now(),
    constraint turn_lease_has_token_and_end check ((lease_token is null) = (leased_until is null))
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

create index turn_that_is_due on turn (due_at);

-- The scheduled job of an engaged session: to look, when it is due, whether the session is silent. Texts don't move it:
-- it moves itself when it comes too early, so a session costs one write here a period and not one a text.
create table silence (
    session_id uuid        not null constraint a_session_has_one_silence_job primary key
                                    constraint silence_belongs_to_a_session references session (id),
    project_id uuid        not null,
    due_at     timestamptz not null
) with (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.02);

create index silence_that_is_due on silence (due_at);

create domain delivery_status as text constraint delivery_status_is_known
    check (value in ('planned', 'sending', 'accepted', 'sent', 'delivered', 'failed', 'unknown', 'suppressed'));
create domain delivery_history as jsonb constraint delivery_history_is_a_list check (jsonb_typeof(value) = 'array');

-- The sending of one outbound message. Its id is the message's: a message has one delivery. It belongs to one: see the trigger below.
create table delivery (
    id           uuid             not null constraint a_message_has_one_delivery primary key,
    project_id   uuid             not null,
    session_id   uuid             not null,
    number_id    uuid             not null,
    contact      text             not null,
    seq          bigint           not null,
    status       delivery_status  not null default 'planned',
    -- Set while a worker has something to do with it, null when only the carrier has. The
    -- indexes below hold live rows alone, and a status callback touches no index (HOT).
    due_at       timestamptz,
    attempts     integer          not null default 0,
    lease_token  uuid,
    leased_until timestamptz,
    -- When the carrier was last about to be called: what it has of this text is not older.
    attempted_at timestamptz,
    carrier_sid  text,
    error_code   integer,
    error_class  text,
    error_detail text,
    -- Each step it took, oldest first: [{"at", "status", "attempt"?, "code"?, "class"?, "detail"?, "by"?}]. In the row,
    -- since every step writes it anyway: rows of their own would cost a second write and an index.
    history      delivery_history not null default '[]',
    created_at   timestamptz      not null default now(),
    accepted_at  timestamptz,
    updated_at   timestamptz      not null default now(),
    constraint delivery_lease_has_token_and_end check ((lease_token is null) = (leased_until is null)),
    constraint sending_delivery_is_leased check (status <> 'sending' or lease_token is not null),
    constraint only_a_sending_or_unknown_delivery_is_leased check (lease_token is null or status in ('sending', 'unknown')),
    constraint planned_sending_and_unknown_deliveries_are_due
        check (status not in ('planned', 'sending', 'unknown') or due_at is not null),
    constraint accepted_delivery_has_the_carriers_id check (status not in ('accepted', 'sent', 'delivered') or carrier_sid is not null)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);

create index delivery_that_is_due on delivery (due_at) where due_at is not null;
-- A contact's texts leave in order: the claim looks here for an earlier one.
create index delivery_in_order_of_a_contact on delivery (number_id, contact, seq) where due_at is not null;
create unique index delivery_has_one_carrier_message on delivery (project_id, carrier_sid) where carrier_sid is not null;

-- As with messages and their sessions. The statement that adds a delivery adds its message too, or has just done so.
create function refuse_delivery_without_a_message() returns trigger language plpgsql
set search_path = textback, pg_temp as $$
declare
    stray uuid;
begin
    select id into stray from changed
     where (select message.id from message where message.id = changed.id limit 1) is null
     limit 1;
    if found then
        raise foreign_key_violation
              using constraint = 'delivery_belongs_to_a_message', table = 'delivery', message = 'a delivery would belong to the message ' || stray || ', which does not exist';
    end if;
    return null;
end $$;

create function refuse_to_delete_a_message_with_a_delivery() returns trigger language plpgsql
set search_path = textback, pg_temp as $$
declare
    missed uuid;
begin
    select id into missed from changed
     where (select delivery.id from delivery where delivery.id = changed.id limit 1) is not null
     limit 1;
    if found then
        raise foreign_key_violation
              using constraint = 'delivery_belongs_to_a_message', table = 'delivery', message = 'the message ' || missed || ' still has a delivery';
    end if;
    return null;
end $$;

create trigger delivery_belongs_to_a_message after insert on delivery
    referencing new table as changed for each statement execute function refuse_delivery_without_a_message();
create trigger message_of_a_delivery_stays after delete on message
    referencing old table as changed for each statement execute function refuse_to_delete_a_message_with_a_delivery();

-- One step of a delivery, for its history.
create function delivery_step(status text, by_whom text, code integer, class text, detail text) returns jsonb language plpgsql stable
set search_path = textback, pg_temp as $$
begin
    return jsonb_build_array(jsonb_strip_nulls(jsonb_build_object(
               'at', now(), 'status', status, 'by', by_whom, 'code', code, 'class', class, 'detail', detail)));
end $$;

-- A history with one step more. Of a delivery that was put off for half a day the beginning and the end are kept.
create function with_step(history jsonb, step jsonb) returns jsonb language plpgsql immutable
set search_path = textback, pg_temp as $$
begin
    return case when jsonb_array_length(history) >= 64 then history - 16 else history end || step;
end $$;

-- Writes a message of ours and plans its delivery. The caller holds the session's row and the lock of its contact.
-- Whether its number may send is looked at here: while its registration is pending, what it would send waits for ever,
-- until settle_registration lets it go; without one it fails at once and says why, since the carrier would block it.
-- A message over the project's limits is written too, as suppressed. is_counted: the caller has checked the limits.
-- Returns the code of the exceeded limit, else null.
create function plan_message(
    new_message uuid, of_project uuid, of_session uuid, from_number uuid, to_contact text,
    of_kind text, saying text, by_turn uuid, silence integer, cut integer, is_counted boolean
) returns text language plpgsql
set search_path = textback, pg_temp as $$
declare
    message_seq bigint;
    way         text;
    why         text;
    refusal     record;
    is_bounded  boolean;
    ends_as     text;
    class       text;
begin
    -- Both in one look: where no limit is set, nothing more is asked.
    select sends, (select outbound_per_contact_per_hour > 0 or outbound_per_contact_per_day > 0
                          or outbound_per_project_per_minute > 0 or outbound_per_project_per_day > 0
                     from project where project.id = of_project)
      into way, is_bounded from number where id = from_number;
    if way <> 'open' then
        -- It may be changing at this moment: then we wait for what it comes to. Nearly all numbers are open, and not locked.
        select sends into way from number where id = from_number for share;
    end if;
    why := case way when 'held' then 'held until the registration of its number is approved'
                    when 'blocked' then 'number_not_registered: the carrier blocks texts from this number' end;
    if way = 'blocked' then
        ends_as := 'failed';
        class := 'permanent_config';
    elsif is_bounded and not is_counted then
        select code, detail into refusal from count_one_outbound(of_project, to_contact);
        if refusal.code is not null then
            ends_as := 'suppressed';
            class := refusal.code;
            why := refusal.detail;
        end if;
    end if;
    insert into message (id, project_id, session_id, direction, kind, body, turn_id, silence_seconds, truncated)
    values (new_message, of_project, of_session, 'outbound', of_kind, saying, by_turn, silence, cut)
    returning seq into message_seq;
    insert into delivery (id, project_id, session_id, number_id, contact, seq, status, due_at, error_class, error_detail, history)
    values (new_message, of_project, of_session, from_number, to_contact, message_seq,
            coalesce(ends_as, 'planned'),
            case when ends_as is not null then null when way = 'held' then 'infinity'::timestamptz else now() end,
            class, why,
            case when ends_as is not null then delivery_step(ends_as, null, null, class, why) else '[]' end);
    return case when ends_as = 'suppressed' then class end;
end $$;

-- A text that is to be sent later, or after the turn that wants it: a scheduled job. When it is due it becomes a message
-- of the same id, in the transaction that removes it here.
create table scheduled_message (
    id                uuid        not null constraint scheduled_message_pk primary key,
    project_id        uuid        not null constraint scheduled_message_belongs_to_a_project references project (id),
    number_id         uuid        not null constraint scheduled_message_leaves_from_a_number references number (id),
    contact           text        not null,
    -- The countries that the contact may be in, by the digits of its number.
    countries         text[]      not null default '{}',
    body              text        not null constraint scheduled_message_fits_a_text check (length(body) <= 1600),
    media_urls        text[]      not null default '{}' constraint scheduled_message_has_at_most_10_media check (cardinality(media_urls) <= 10),
    on_active_session text        not null constraint scheduled_message_knows_what_to_do_with_a_session
                                  check (on_active_session in ('supersede', 'join', 'reject')),
    -- Quiet hours put off what was scheduled, not what an agent says now.
    heeds_quiet_hours boolean     not null,
    -- The turn whose agent wants it.
    turn_id           uuid,
    send_at           timestamptz not null,
    -- Null once it was refused or cancelled.
    due_at            timestamptz,
    -- Why it will not be sent.
    refused           text        constraint scheduled_message_refusal_is_known
                                  check (refused in ('cancelled', 'contact_opted_out', 'session_active', 'number_detached', 'unreadable', 'turn_limit_reached',
                                                     'contact_limit_reached', 'project_limit_reached', 'country_not_allowed')),
    created_at        timestamptz not null default now(),
    constraint scheduled_message_is_due_or_refused check ((due_at is null) = (refused is not null))
);

create index scheduled_message_that_is_due on scheduled_message (due_at) where due_at is not null;
create index scheduled_message_to_a_contact on scheduled_message (number_id, contact) where due_at is not null;
create index scheduled_message_newest_of_a_project on scheduled_message (project_id, id);

-- How many texts of a project came in this minute of the clock. Written only where their number is limited.
create table project_pace (
    project_id uuid        not null constraint a_project_has_one_pace primary key
                                    constraint project_pace_belongs_to_a_project references project (id),
    minute     timestamptz not null,
    texts      integer     not null
) with (fillfactor = 50);
