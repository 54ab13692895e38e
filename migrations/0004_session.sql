-- A session is one conversation between a number and a contact on a channel.

-- What a column of the busy tables may hold is said by its type: the checks of a table are read and planned anew by each statement that
-- writes to it, those of a type once a connection, and only where the column is written. 6 % of what PostgreSQL does for a text.
create domain session_channel as text constraint session_channel_is_known check (value in ('sms', 'webchat', 'voice'));
create domain session_status as text constraint session_status_is_known check (value in ('open', 'warned', 'closed'));
create domain session_origin as text constraint session_origin_is_known check (value in ('inbound', 'outbound'));
-- The size as printed, not as stored: jsonb stores 1e99999 in 12 bytes, and each claim of a turn prints it.
-- src/bounds.rs has the same limit.
create domain session_state as jsonb constraint session_state_is_an_object check (jsonb_typeof(value) = 'object')
    constraint session_state_has_at_most_256_kb_as_text check (octet_length(value::text) <= 262144);
create domain session_close_reason as text constraint session_close_reason_is_known
    check (value in ('agent_ended', 'operator_ended', 'timed_out', 'opted_out', 'superseded', 'unreadable'));

create table session (
    id                  uuid                 not null constraint session_pk primary key,
    project_id          uuid                 not null constraint session_belongs_to_a_project references project (id),
    number_id           uuid                 not null constraint session_is_held_on_a_number references number (id),
    contact             text                 not null,
    channel             session_channel      not null,
    status              session_status       not null,
    origin              session_origin       not null,
    -- The turn whose agent began it with a text outside its answer.
    begun_by_turn       uuid,
    engaged             boolean              not null,
    agent_id            uuid                 not null,
    agent_version       integer              not null,
    -- What the agent remembers (conv.state).
    state               session_state        not null default '{}',
    language            text,
    -- Every inbound message up to this seq is handled. A watermark and not a mark on each
    -- message: a turn handles all that waits, so one number in a row that is written anyway
    -- says it, and messages stay append-only.
    handled_seq         bigint               not null default 0,
    started_at          timestamptz,
    opened_at           timestamptz          not null default now(),
    -- Moves with every message of either side; no index on it, so that the update stays HOT.
    last_message_at     timestamptz          not null default now(),
    -- For how long nobody may say anything from then on: the agent's setting of that moment, so that a change of it counts
    -- from the next message.
    warn_after_seconds  integer              not null,
    -- Until when the contact's texts are held, because the same one came again and again.
    paused_until        timestamptz,
    warned_at           timestamptz,
    closed_at           timestamptz,
    close_reason        session_close_reason,
    previous_session_id uuid                 constraint session_follows_a_session references session (id),
    constraint session_runs_an_agent_version foreign key (agent_id, agent_version) references agent_version (agent_id, version),
    constraint session_is_closed_when_it_has_a_closing_time check ((status = 'closed') = (closed_at is not null)),
    constraint closed_session_has_a_reason check ((closed_at is null) = (close_reason is null)),
    constraint warned_session_has_a_warning_time check (status <> 'warned' or warned_at is not null)
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);

-- The last word on "one active session per number": the advisory lock only keeps callers
-- from running into it.
create unique index one_session_not_closed_per_number_contact_and_channel
    on session (number_id, contact, channel) where status <> 'closed';
-- For those who name the project, which the condition says, always true as it is: an empty table's indexes all cost the same, and
-- a plan that was made then would look for an id alone by reading all of one of these.
create index session_newest_of_a_project on session (project_id, id) where project_id is not null;
create index session_newest_of_a_contact on session (project_id, contact, id) where project_id is not null;

-- The encoding of a text: GSM-7 if it has all of the text's characters (3GPP TS 23.038, 6.2.1), else UCS-2. PostgreSQL
-- caches the compiled regular expression; translate() with as many letters took ten times as long. message.encoding has
-- the same expression inline, and a test compares both.
create function sms_encoding(body text) returns text language plpgsql immutable parallel safe
set search_path = textback, pg_temp as $fn$
begin
    return case when body ~ E'^[-@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !"#¤%&''()*+,./0-9:;<=>?¡A-ZÄÖÑÜ§¿a-zäöñüà\f^{}\\\\\\[~\\]|€]*$'
                then 'gsm7' else 'ucs2' end;
end $fn$;

-- How many segments a text costs: one of 160 septets or 70 UTF-16 code units, else as many of 153 or 67 as it takes,
-- since each then carries a header of 6 bytes. A character is never split: those of GSM-7's extension are two septets,
-- those beyond the basic plane two code units. src/segments.rs counts the same in another way; a test compares both.
create function sms_segments(body text) returns integer language plpgsql immutable parallel safe
set search_path = textback, pg_temp as $fn$
declare
    is_gsm    boolean;
    doubles   text := E'\f^{}\\[~]|€';
    units     integer := length(body);
    letter    text;
    size      integer;
    filled    integer := 0;
    segments  integer := 1;
begin
    -- No text so short takes more: a character of two septets has one byte at least, one of two code units has four.
    if octet_length(body) <= 70 then
        return 1;
    end if;
    is_gsm := sms_encoding(body) = 'gsm7';
    if is_gsm then
        units := units + length(body) - length(translate(body, doubles, ''));
        if units <= 160 then
            return 1;
        end if;
    else
        units := units + length(body) - length(regexp_replace(body, '[\U00010000-\U0010FFFF]', '', 'g'));
        if units <= 70 then
            return 1;
        end if;
    end if;
    foreach letter in array string_to_array(body, null) loop
        size := case when is_gsm then 1 + (position(letter in doubles) > 0)::integer
                     else 1 + (ascii(letter) > 65535)::integer end;
        if filled + size > (case when is_gsm then 153 else 67 end) then
            segments := segments + 1;
            filled := 0;
        end if;
        filled := filled + size;
    end loop;
    return segments;
end $fn$;

-- Whether a message is one that breaks a silence: keywords, what is held or dropped, and what the clock says are not.
create function breaks_silence(kind text, skip_reason text) returns boolean language plpgsql immutable parallel safe
set search_path = textback, pg_temp as $$
begin
    return kind not in ('keyword', 'help', 'warning', 'closing')
       and coalesce(skip_reason, '') not in ('opted_out', 'contact_too_fast', 'repeats', 'paused', 'project_too_fast');
end $$;

-- How far a message has come: an outbound one as far as its delivery, an inbound one by the session's watermark.
create function message_status(skip_reason text, seq bigint, handled_seq bigint, delivery_status text)
returns text language plpgsql immutable parallel safe
set search_path = textback, pg_temp as $$
begin
    return case when delivery_status is not null then delivery_status
                when skip_reason = 'keyword' then 'handled'
                when skip_reason in ('contact_too_fast', 'repeats', 'paused', 'project_too_fast') then 'held'
                when skip_reason is not null then 'skipped'
                when seq <= handled_seq then 'handled'
                else 'waiting' end;
end $$;

create domain message_direction as text constraint message_direction_is_known check (value in ('inbound', 'outbound'));
create domain message_kind as text constraint message_kind_is_known
    check (value in ('text', 'keyword', 'greeting', 'reply', 'error', 'warning', 'closing', 'help'));
create domain message_skip_reason as text constraint message_skip_reason_is_known
    check (value in ('session_ended', 'agent_failed', 'worker_lost', 'keyword', 'opted_out', 'contact_too_fast', 'repeats', 'paused',
                     'project_too_fast', 'unreadable'));

-- A text in a session. Append-only but for the reason of a skip.
create table message (
    id          uuid                not null constraint message_pk primary key,
    -- The order within a session: drawn while the contact is locked, by everybody who adds one.
    seq         bigint              not null generated always as identity,
    project_id  uuid                not null,
    -- Belongs to a session: see the trigger below.
    session_id  uuid                not null,
    direction   message_direction   not null,
    kind        message_kind        not null,
    body        text                not null,
    -- Inline, and for a short text without a function call. A function with a fixed search_path is not inlined, and two
    -- calls cost 5 us per message, of the 133 us that PostgreSQL spends on a text and its answer.
    encoding    text                not null generated always as (
        case when body ~ E'^[-@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !"#¤%&''()*+,./0-9:;<=>?¡A-ZÄÖÑÜ§¿a-zäöñüà\f^{}\\\\\\[~\\]|€]*$'
             then 'gsm7' else 'ucs2' end) stored,
    segments    integer             not null generated always as (
        case when octet_length(body) <= 70 then 1 else sms_segments(body) end) stored,
    -- Inbound: the carrier's id of the message. Outbound: see delivery.
    carrier_sid text,
    -- Outbound: the turn that made it.
    turn_id     uuid,
    -- Inbound: why no turn will answer it. A keyword is answered by what it does; the last four are held by a guard.
    skip_reason message_skip_reason,
    -- On the last message of a turn that reached its limit: how many characters were cut.
    truncated   integer,
    -- A warning: the silence that it was sent for.
    silence_seconds integer,
    created_at  timestamptz         not null default now(),
    constraint warning_tells_its_silence check ((kind = 'warning') = (silence_seconds is not null)),
    constraint inbound_message_has_the_carriers_id_and_no_other_has check ((direction = 'inbound') = (carrier_sid is not null)),
    constraint reply_has_the_turn_that_made_it check (direction = 'inbound' or kind in ('text', 'warning', 'closing', 'help') or turn_id is not null),
    constraint keywords_are_inbound_and_skipped check (kind <> 'keyword' or (direction = 'inbound' and skip_reason = 'keyword')),
    constraint only_inbound_messages_are_skipped check (direction = 'inbound' or skip_reason is null)
);

-- The carrier's id decides whether a text is new: a webhook that comes twice is one message. Only inbound messages have one here.
-- The condition is not on the direction: a question about a session's inbound messages would fit it too, and without statistics
-- read all of it.
create unique index carrier_message_is_recorded_once on message (project_id, carrier_sid) where carrier_sid is not null;
create index message_in_order_of_a_session on message (session_id, seq);
create index message_of_the_clock on message (session_id, seq) where kind in ('warning', 'closing', 'help');

-- A foreign key whose rows are looked up by the statement and not one by one, which cost a tenth of all that PostgreSQL does for a text.
-- Who adds a message holds its session's row, so that nobody can delete it meanwhile.
create function refuse_message_without_a_session() returns trigger language plpgsql
set search_path = textback, pg_temp as $$
declare
    stray uuid;
begin
    select session_id into stray from changed
     where (select session.id from session where session.id = changed.session_id limit 1) is null
     limit 1;
    if found then
        raise foreign_key_violation
              using constraint = 'message_belongs_to_a_session', table = 'message', message = 'a message would belong to the session ' || stray || ', which does not exist';
    end if;
    return null;
end $$;

create function refuse_to_delete_a_session_with_messages() returns trigger language plpgsql
set search_path = textback, pg_temp as $$
declare
    missed uuid;
begin
    select id into missed from changed
     where (select message.id from message where message.session_id = changed.id limit 1) is not null
     limit 1;
    if found then
        raise foreign_key_violation
              using constraint = 'message_belongs_to_a_session', table = 'message', message = 'the session ' || missed || ' still has messages';
    end if;
    return null;
end $$;

create trigger message_belongs_to_a_session after insert on message
    referencing new table as changed for each statement execute function refuse_message_without_a_session();
create trigger message_still_belongs_to_a_session after update on message
    referencing new table as changed for each statement execute function refuse_message_without_a_session();
create trigger session_of_a_message_stays after delete on session
    referencing old table as changed for each statement execute function refuse_to_delete_a_session_with_messages();

-- Something that came with a text or goes out with one: a picture, a sound, a contact card. The bytes stay where they
-- are, at the carrier or on the web, and are fetched when somebody asks.
create table medium (
    id           uuid        not null constraint medium_pk primary key,
    project_id   uuid        not null,
    message_id   uuid        not null constraint medium_belongs_to_a_message references message (id),
    position     integer     not null constraint a_message_has_at_most_10_media check (position between 0 and 9),
    url          text        not null constraint medium_url_has_at_most_4000_characters check (length(url) <= 4000),
    -- What the carrier says it is; null for what we send, until it was fetched.
    content_type text,
    -- Known once it was fetched.
    bytes        bigint,
    constraint media_of_a_message_have_an_order unique (message_id, position)
);

-- The media of a message as operators see them. Agents see the same: turn/claim.sql says it again, since this would be called once a text.
create function media_of(of_message uuid) returns jsonb language plpgsql stable
set search_path = textback, pg_temp as $$
declare
    media jsonb;
begin
    select jsonb_agg(jsonb_build_object('id', id, 'url', url, 'content_type', content_type, 'bytes', bytes) order by position) into media
      from medium where message_id = of_message;
    return media;
end $$;

-- What came through the verified door and fits no session. Nothing that was acknowledged is
-- thrown away: it waits here for a person, as it came.
create table quarantine (
    id          uuid        not null constraint quarantine_pk primary key,
    project_id  uuid        not null constraint quarantine_belongs_to_a_project references project (id),
    kind        text        not null constraint quarantine_kind_is_known check (kind in ('inbound', 'status', 'session_state')),
    reason      text        not null,
    carrier_sid text,
    -- The form as it came, byte for byte: it may hold what text can't (NUL, broken UTF-8).
    form        bytea       not null,
    received_at timestamptz not null default now()
);

create unique index carrier_message_is_quarantined_once on quarantine (project_id, carrier_sid)
    where kind = 'inbound' and carrier_sid is not null;
create index quarantine_newest_of_a_project on quarantine (project_id, id);
