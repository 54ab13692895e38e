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

-- How a turn is stored. state: null if it did not change. speaks: whether it has messages; then warn_after_seconds is the
-- inactivity that its session may have from now on.
create type settled_turn as (
    session_id         uuid,
    state              jsonb,
    language           text,
    handled_seq        bigint,
    started            boolean,
    speaks             boolean,
    warn_after_seconds integer
);

-- A message of a turn, and how its delivery is stored. is_held: it waits for the registration of its number. lease_token: its
-- delivery is claimed under this token for lease_seconds. truncated: how many characters of the turn were cut.
create type turn_message as (
    id            uuid,
    project_id    uuid,
    session_id    uuid,
    number_id     uuid,
    contact       text,
    turn_id       uuid,
    kind          text,
    body          text,
    truncated     integer,
    status        text,
    is_held       boolean,
    error_class   text,
    error_detail  text,
    lease_token   uuid,
    lease_seconds double precision
);
