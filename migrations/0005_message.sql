-- Messages, their attachments, and the quarantine. The two functions are here because the generated columns of message
-- use them.

-- The encoding of a text: gsm7 if the GSM-7 alphabet has all of its characters (3GPP TS 23.038, 6.2.1), else ucs2.
-- PostgreSQL caches the compiled regular expression. translate() with as many letters took ten times as long. The
-- column message.encoding has the same expression inline, and a test compares both.
create function sms_encoding(body text) returns text language plpgsql immutable parallel safe
set search_path = textback, pg_temp as $fn$
begin
    return case when body ~ E'^[-@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !"#¤%&''()*+,./0-9:;<=>?¡A-ZÄÖÑÜ§¿a-zäöñüà\f^{}\\\\\\[~\\]|€]*$'
                then 'gsm7' else 'ucs2' end;
end $fn$;

-- The number of segments of a text. A single segment has 160 septets or 70 UTF-16 code units. Each of several segments
-- has 153 or 67, because it has a header of 6 bytes. A character is never split. A character of the GSM-7 extension has
-- two septets, and one beyond the basic plane has two code units. src/domain/segments.rs counts in another way, and a
-- test compares both.
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
    -- 70 bytes fit one segment: a character of two septets has at least one byte, and one of two code units has four.
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

create domain message_direction as text constraint message_direction_is_known check (value in ('inbound', 'outbound'));
create domain message_kind as text constraint message_kind_is_known
    check (value in ('text', 'keyword', 'greeting', 'reply', 'error', 'warning', 'closing', 'help'));
create domain message_skip_reason as text constraint message_skip_reason_is_known
    check (value in ('session_ended', 'agent_failed', 'worker_lost', 'keyword', 'opted_out', 'contact_too_fast', 'repeats', 'paused',
                     'project_too_fast', 'unreadable'));

-- A message in a session. Rows are append-only, except for skip_reason.
create table message (
    id          uuid                not null constraint message_pk primary key,
    -- The order within a session. Every writer gets it from the sequence while it holds the lock of the contact.
    seq         bigint              not null generated always as identity,
    project_id  uuid                not null,
    -- The trigger message_belongs_to_a_session checks it.
    session_id  uuid                not null,
    direction   message_direction   not null,
    kind        message_kind        not null,
    body        text                not null,
    -- The expression is inline, and a short text needs no function call. PostgreSQL does not inline a function with a
    -- fixed search_path, and two calls cost 5 us of the 133 us that PostgreSQL spends on a message and its answer.
    encoding    text                not null generated always as (
        case when body ~ E'^[-@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !"#¤%&''()*+,./0-9:;<=>?¡A-ZÄÖÑÜ§¿a-zäöñüà\f^{}\\\\\\[~\\]|€]*$'
             then 'gsm7' else 'ucs2' end) stored,
    segments    integer             not null generated always as (
        case when octet_length(body) <= 70 then 1 else sms_segments(body) end) stored,
    -- Inbound: the carrier's id of the message. For an outbound message, its delivery has the id.
    carrier_sid text,
    -- Outbound: the turn that made it.
    turn_id     uuid,
    -- Inbound: why no turn answers it. The four reasons after opted_out are rate limits, and such a message is held.
    skip_reason message_skip_reason,
    -- The last message of a turn that reached its limit: how many characters were cut.
    truncated   integer,
    -- A warning: the inactivity before it, in seconds.
    inactivity_seconds integer,
    created_at  timestamptz         not null default now(),
    constraint warning_tells_its_inactivity check ((kind = 'warning') = (inactivity_seconds is not null)),
    constraint inbound_message_has_the_carriers_id_and_no_other_has check ((direction = 'inbound') = (carrier_sid is not null)),
    constraint reply_has_the_turn_that_made_it check (direction = 'inbound' or kind in ('text', 'warning', 'closing', 'help') or turn_id is not null),
    constraint keywords_are_inbound_and_skipped check (kind <> 'keyword' or (direction = 'inbound' and skip_reason = 'keyword')),
    constraint only_inbound_messages_are_skipped check (direction = 'inbound' or skip_reason is null)
);

-- Prevents a second row for a message whose webhook comes twice. Only inbound messages have a carrier_sid here. The
-- condition is not on the direction, because a query for the inbound messages of a session could then use this index,
-- and read all of it when the table has no statistics.
create unique index carrier_message_is_recorded_once on message (project_id, carrier_sid) where carrier_sid is not null;
create index message_in_order_of_a_session on message (session_id, seq);
create index message_of_the_clock on message (session_id, seq) where kind in ('warning', 'closing', 'help');

-- A file of an inbound or outbound message, such as a picture, a sound or a contact card. The bytes stay at the carrier
-- or on the web, and are fetched on demand.
create table attachment (
    id           uuid        not null constraint attachment_pk primary key,
    project_id   uuid        not null,
    message_id   uuid        not null constraint attachment_belongs_to_a_message references message (id),
    position     integer     not null constraint a_message_has_at_most_10_attachments check (position between 0 and 9),
    url          text        not null constraint attachment_url_has_at_most_4000_characters check (length(url) <= 4000),
    -- As the carrier reports it. For an outbound message it is null until the file is fetched.
    content_type text,
    -- Null until the file is fetched.
    bytes        bigint,
    constraint attachments_of_a_message_have_an_order unique (message_id, position)
);

-- Data of verified webhooks that fits no session. It is stored unchanged for an operator.
create table quarantine (
    id          uuid        not null constraint quarantine_pk primary key,
    project_id  uuid        not null constraint quarantine_belongs_to_a_project references project (id),
    kind        text        not null constraint quarantine_kind_is_known check (kind in ('inbound', 'status', 'session_state')),
    reason      text        not null,
    carrier_sid text,
    -- The unchanged form. It may contain bytes that the type text does not allow (NUL, invalid UTF-8).
    form        bytea       not null,
    received_at timestamptz not null default now()
);

create unique index carrier_message_is_quarantined_once on quarantine (project_id, carrier_sid)
    where kind = 'inbound' and carrier_sid is not null;
create index quarantine_newest_of_a_project on quarantine (project_id, id);
