-- The rows of a batch, as composite types, because parsing JSON cost 6 us a message. A released type is never altered: an older
-- process writes its fields by position. A new version of a type gets a new name, and so do the functions that take it.

-- What load_inbound needs of an inbound message. ordinal: its position in the batch, from 0. said: the body, or null if the
-- message can't be a repetition, as one with attachments. is_keyword: it is for nobody's agent. agent_id: the caller has a permit for
-- a turn of this agent.
create type inbound_message as (
    ordinal       integer,
    project_id    uuid,
    "to"          text,
    "from"        text,
    carrier_sid   text,
    said          text,
    is_keyword    boolean,
    asks_for_help boolean,
    agent_id      uuid
);

-- What was decided about an inbound message. kind, skip_reason: of the message. media: [{id, url, content_type}] or null.
-- opens_session: session_id is a new one. is_answered: a turn answers the message; is_claimed: the caller runs that turn.
-- inactivity: schedule, bring_forward or keep. paused_until: of the session, as it is from now on.
create type inbound_decision as (
    message_id          uuid,
    project_id          uuid,
    number_id           uuid,
    contact             text,
    session_id          uuid,
    opens_session       boolean,
    previous_session_id uuid,
    agent_id            uuid,
    agent_version       integer,
    warn_after_seconds  integer,
    paused_until        timestamptz,
    kind                text,
    skip_reason         text,
    body                text,
    carrier_sid         text,
    media               jsonb,
    is_answered         boolean,
    inactivity          text,
    turn_id             uuid,
    debounce_seconds    integer,
    is_claimed          boolean
);

-- The outcome of a turn. ordinal: its position in the batch. state: null if it did not change. message_ids, kinds, bodies: the
-- messages of the turn. sends: [{message_id, number, contact, countries, body, refused}] or null, the calls of send_sms. They
-- become scheduled messages that are due at once, and are sent after the turn. truncated: how many characters the turn's limit
-- cut. send_token: the worker wants to send the first message itself, under this token for send_seconds.
create type turn_outcome as (
    ordinal         integer,
    turn_id         uuid,
    session_id      uuid,
    number_id       uuid,
    contact         text,
    token           uuid,
    seen_seq        bigint,
    started         boolean,
    state           jsonb,
    language        text,
    close_reason    text,
    skip_reason     text,
    message_ids     uuid[],
    kinds           text[],
    bodies          text[],
    sends           jsonb,
    send_token      uuid,
    send_seconds    double precision,
    next_turn_id    uuid,
    next_session_id uuid,
    truncated       integer
);

-- What the carrier answered to a delivery. ordinal: its position in the batch. status: accepted, failed, unknown, or planned
-- again after retry_after_seconds.
create type delivery_outcome as (
    ordinal             integer,
    id                  uuid,
    token               uuid,
    status              text,
    carrier_sid         text,
    error_code          integer,
    error_class         text,
    error_detail        text,
    retry_after_seconds double precision,
    consent_id          uuid
);
