-- A session is one conversation between a number and a contact on a channel.

create table session (
    id                  uuid        not null constraint session_pk primary key,
    project_id          uuid        not null constraint session_belongs_to_a_project references project (id),
    number_id           uuid        not null constraint session_is_held_on_a_number references number (id),
    contact             text        not null,
    channel             text        not null constraint session_channel_is_known check (channel in ('sms', 'webchat', 'voice')),
    status              text        not null constraint session_status_is_known check (status in ('open', 'warned', 'closed')),
    origin              text        not null constraint session_origin_is_known check (origin in ('inbound', 'outbound')),
    engaged             boolean     not null,
    agent_id            uuid        not null,
    agent_version       integer     not null,
    -- What the agent remembers (conv.state).
    state               jsonb       not null default '{}' constraint session_state_is_an_object check (jsonb_typeof(state) = 'object'),
    language            text,
    -- Every inbound message up to this seq is handled. A watermark and not a mark on each
    -- message: a turn handles all that waits, so one number in a row that is written anyway
    -- says it, and messages stay append-only.
    handled_seq         bigint      not null default 0,
    started_at          timestamptz,
    opened_at           timestamptz not null default now(),
    -- Moves with every message of either side; no index on it, so that the update stays HOT.
    last_message_at     timestamptz not null default now(),
    warned_at           timestamptz,
    closed_at           timestamptz,
    close_reason        text        constraint session_close_reason_is_known
                                    check (close_reason in ('agent_ended', 'operator_ended', 'timed_out', 'opted_out')),
    previous_session_id uuid        constraint session_follows_a_session references session (id),
    constraint session_runs_an_agent_version foreign key (agent_id, agent_version) references agent_version (agent_id, version),
    constraint session_is_closed_when_it_has_a_closing_time check ((status = 'closed') = (closed_at is not null)),
    constraint closed_session_has_a_reason check ((closed_at is null) = (close_reason is null)),
    constraint warned_session_has_a_warning_time check (status <> 'warned' or warned_at is not null)
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);

-- The last word on "one active session per number": the advisory lock only keeps callers
-- from running into it.
create unique index one_session_not_closed_per_number_contact_and_channel
    on session (number_id, contact, channel) where status <> 'closed';
create index session_newest_of_a_project on session (project_id, id);
create index session_newest_of_a_contact on session (project_id, contact, id);

-- A text in a session. Append-only but for the reason of a skip.
create table message (
    id          uuid        not null constraint message_pk primary key,
    -- The order within a session: drawn while the session's row is locked.
    seq         bigint      not null generated always as identity,
    project_id  uuid        not null,
    session_id  uuid        not null constraint message_belongs_to_a_session references session (id),
    direction   text        not null constraint message_direction_is_known check (direction in ('inbound', 'outbound')),
    kind        text        not null constraint message_kind_is_known check (kind in ('text', 'greeting', 'reply', 'error', 'warning', 'closing')),
    body        text        not null,
    -- What came with an inbound text: [{"url", "content_type"}].
    media       jsonb       constraint message_media_is_a_list check (jsonb_typeof(media) = 'array'),
    -- Inbound: the carrier's id of the message. Outbound: see delivery.
    carrier_sid text,
    -- Outbound: the turn that made it.
    turn_id     uuid,
    -- Inbound: why no turn will answer it.
    skip_reason text        constraint message_skip_reason_is_known check (skip_reason in ('session_ended', 'agent_failed')),
    -- A warning: the silence that it was sent for.
    silence_seconds integer,
    created_at  timestamptz not null default now(),
    constraint warning_tells_its_silence check ((kind = 'warning') = (silence_seconds is not null)),
    constraint inbound_message_has_the_carriers_id check (direction = 'outbound' or carrier_sid is not null),
    constraint reply_has_the_turn_that_made_it check (direction = 'inbound' or kind in ('warning', 'closing') or turn_id is not null),
    constraint only_inbound_messages_are_skipped check (direction = 'inbound' or skip_reason is null)
);

-- The carrier's id decides whether a text is new: a webhook that comes twice is one message.
create unique index carrier_message_is_recorded_once on message (project_id, carrier_sid) where direction = 'inbound';
create index message_in_order_of_a_session on message (session_id, seq);
create index message_of_silence on message (session_id, seq) where kind in ('warning', 'closing');

-- What came through the verified door and fits no session. Nothing that was acknowledged is
-- thrown away: it waits here for a person, as it came.
create table quarantine (
    id          uuid        not null constraint quarantine_pk primary key,
    project_id  uuid        not null constraint quarantine_belongs_to_a_project references project (id),
    kind        text        not null constraint quarantine_kind_is_known check (kind in ('inbound', 'status')),
    reason      text        not null,
    carrier_sid text,
    -- The form as it came, byte for byte: it may hold what text can't (NUL, broken UTF-8).
    form        bytea       not null,
    received_at timestamptz not null default now()
);

create unique index carrier_message_is_quarantined_once on quarantine (project_id, carrier_sid)
    where kind = 'inbound' and carrier_sid is not null;
create index quarantine_newest_of_a_project on quarantine (project_id, id);
