-- The rows of a batch are composite types, because parsing JSON cost 6 us a message. Never alter a
-- released type: an older process writes its fields by position. A new version of a type gets a new
-- name, and so do the functions that use it.

-- An inbound message as load_inbound needs it. ordinal: its position in the batch, from 0.
-- endpoint_id: null for the number "to". may_be_answered: the text is a keyword that we may answer.
-- answers_keywords: the carrier leaves the keywords of our address to us. said: the body, or null
-- if the message can't be a repetition, such as one with attachments. may_be_own_word: the text is
-- short enough for a keyword of its project. may_react: the text has the form of a reaction.
-- agent_id: the caller has a permit for a turn of this agent.
create type inbound_message as (
    ordinal       integer,
    project_id    uuid,
    channel       text,
    endpoint_id   uuid,
    "to"          text,
    "from"        text,
    carrier_id   text,
    client_id     text,
    said          text,
    may_be_answered boolean,
    answers_keywords boolean,
    may_be_own_word boolean,
    may_react     boolean,
    agent_id      uuid
);

-- The decision about an inbound message. kind, skip_reason: of the message. opens_session:
-- session_id is a new session. is_answered: a turn answers the message. is_claimed: the caller runs
-- that turn. inactivity: schedule, bring_forward or keep. paused_until: the new value of the
-- session.
create type inbound_decision as (
    message_id          uuid,
    project_id          uuid,
    channel             text,
    endpoint_id         uuid,
    contact             text,
    session_id          uuid,
    opens_session       boolean,
    previous_session_id uuid,
    agent_id            uuid,
    agent_version       integer,
    environment         text,
    warn_after_seconds  integer,
    paused_until        timestamptz,
    kind                text,
    skip_reason         text,
    body                text,
    reaction            jsonb,
    encoding            text,
    segments            integer,
    carrier_id         text,
    client_id           text,
    is_answered         boolean,
    inactivity          text,
    turn_id             uuid,
    debounce_seconds    integer,
    is_claimed          boolean
);

-- How a turn is stored. state: null if it did not change. speaks: whether the turn has messages. If
-- it has, its session gets warn_after_seconds.
create type settled_turn as (
    session_id         uuid,
    state              jsonb,
    language           text,
    handled_seq        bigint,
    started            boolean,
    speaks             boolean,
    warn_after_seconds integer
);

-- A message that is planned, and how its delivery is stored. status: null if it has no delivery.
-- is_held: the message waits for the registration of its number. lease_token: the delivery is
-- claimed under this token for lease_seconds. truncated: how many characters of it, or of its turn,
-- were cut. inactivity_seconds: of a warning, the inactivity before it. despite_opt_out: it leaves
-- although its contact has opted out. turn_created_at to turn_error_code: what is recorded of its
-- turn, if it is the first message of that.
create type planned_message as (
    id                 uuid,
    project_id         uuid,
    session_id         uuid,
    number_id          uuid,
    contact            text,
    turn_id            uuid,
    kind               text,
    body               text,
    encoding           text,
    segments           integer,
    truncated          integer,
    inactivity_seconds integer,
    status             text,
    is_held            boolean,
    error_class        text,
    error_detail       text,
    lease_token        uuid,
    lease_seconds      double precision,
    despite_opt_out    boolean,
    turn_created_at    timestamptz,
    turn_attempts      integer,
    turn_failures      integer,
    turn_messages      integer,
    turn_milliseconds  integer,
    turn_error_code    text
);

-- A turn that is done and said nothing, as it is recorded in turn_without_message.
create type silent_turn as (
    id                 uuid,
    project_id         uuid,
    session_id         uuid,
    milliseconds       integer,
    attempts           integer,
    failures           integer,
    outcome            text,
    error_code         text,
    created_at         timestamptz
);
