-- The rows of a batch, as composite types, because parsing JSON cost 6 us a message. A released type is never altered: an older
-- process writes its fields by position. A new version of a type gets a new name, and so do the functions that take it.

-- A parsed inbound message. ordinal: its position in the batch, from 0. reason: why it fits no session, if the webhook knows.
-- keyword: stop, start, help, or yes, which means start only from a contact who has opted out. said_at: the time of a message
-- that was backfilled. media: [{id, url, content_type}] or null. The ids are new and used if needed; consent_id and
-- help_message_id come with a keyword. agent_id: the caller has a permit for a turn of this agent.
create type incoming_text as (
    ordinal         integer,
    project_id      uuid,
    "to"            text,
    "from"          text,
    carrier_sid     text,
    body            text,
    media           jsonb,
    reason          text,
    keyword         text,
    said_at         timestamptz,
    message_id      uuid,
    session_id      uuid,
    turn_id         uuid,
    consent_id      uuid,
    help_message_id uuid,
    agent_id        uuid
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
