-- Messages, their attachments, and the quarantine.

create domain message_direction as text constraint message_direction_is_known check (value in ('inbound', 'outbound'));
create domain message_kind as text constraint message_kind_is_known
    check (value in ('text', 'keyword', 'greeting', 'reply', 'error', 'warning', 'closing', 'help', 'opt_out', 'opt_in', 'reaction'));
-- A reaction to a message of ours: {emoji, is_removed, message_id}. src/domain/reaction.rs writes
-- and reads it.
create domain message_reaction as jsonb constraint reaction_tells_its_emoji_and_message check (value ?& array['emoji', 'is_removed', 'message_id']);
create domain message_encoding as text constraint message_encoding_is_known check (value in ('gsm7', 'ucs2'));
create domain message_skip_reason as text constraint message_skip_reason_is_known
    check (value in ('session_ended', 'agent_failed', 'worker_lost', 'keyword', 'opted_out', 'contact_too_fast', 'repeats', 'paused',
                     'project_too_fast', 'to_is_from', 'from_own_number', 'reaction', 'unreadable'));

-- A message in a session. Rows are append-only, except for skip_reason.
create table message (
    id          uuid                not null constraint message_pk primary key,
    -- The order within a session. Every writer gets it from the sequence while it holds the lock of
    -- the contact.
    seq         bigint              not null generated always as identity,
    project_id  uuid                not null,
    session_id  uuid                not null,
    direction   message_direction   not null,
    kind        message_kind        not null,
    body        text                not null,
    encoding    message_encoding,
    segments    integer,
    carrier_id text,
    client_id   text constraint client_id_has_1_to_100_characters check (length(client_id) between 1 and 100),
    turn_id     uuid,
    skip_reason message_skip_reason,
    truncated   integer,
    inactivity_seconds integer,
    reaction    message_reaction,
    created_at  timestamptz         not null default now(),
    constraint reaction_tells_what_it_is check ((kind = 'reaction') = (reaction is not null)),
    constraint encoding_and_segments_come_together check ((encoding is null) = (segments is null)),
    constraint warning_tells_its_inactivity check ((kind = 'warning') = (inactivity_seconds is not null)),
    constraint inbound_message_has_an_id_of_its_carrier_or_client
        check (num_nonnulls(carrier_id, client_id) = (direction = 'inbound')::integer),
    constraint reply_has_the_turn_that_made_it check (direction = 'inbound' or kind in ('text', 'warning', 'closing', 'help', 'opt_out', 'opt_in') or turn_id is not null),
    constraint keywords_are_inbound_and_skipped check (kind <> 'keyword' or (direction = 'inbound' and skip_reason = 'keyword')),
    constraint only_inbound_messages_are_skipped check (direction = 'inbound' or skip_reason is null)
);

-- Prevents a second row for a message whose webhook comes twice. Only inbound messages have a
-- carrier_id here. The condition is not on the direction, because a query for the inbound messages
-- of a session could then use this index, and read all of it when the table has no statistics.
create unique index carrier_message_is_recorded_once on message (project_id, carrier_id) where carrier_id is not null;
create index message_in_order_of_a_session on message (session_id, seq);
create index message_of_the_clock on message (session_id, seq) where kind in ('warning', 'closing', 'help', 'opt_out', 'opt_in');

-- Makes a message that a client sends twice one row. It is the last index: on an empty table all of
-- them cost the same, and a plan that is made then takes the newest.
create unique index client_message_is_recorded_once on message (session_id, client_id) where client_id is not null;

-- A file of an inbound or outbound message, such as a picture, a sound or a contact card. The bytes
-- stay at the carrier or on the web, and are fetched on demand.
create table attachment (
    id           uuid        not null constraint attachment_pk primary key,
    project_id   uuid        not null,
    message_id   uuid        not null constraint attachment_belongs_to_a_message references message (id),
    position     integer     not null constraint a_message_has_at_most_10_attachments check (position between 0 and 9),
    url          text        not null constraint attachment_url_has_at_most_4000_characters check (length(url) <= 4000),
    content_type text,
    bytes        bigint,
    constraint attachments_of_a_message_have_an_order unique (message_id, position)
);

-- Data of verified webhooks that fits no session. It is stored unchanged for an operator.
create table quarantine (
    id          uuid        not null constraint quarantine_pk primary key,
    project_id  uuid        not null constraint quarantine_belongs_to_a_project references project (id),
    kind        text        not null constraint quarantine_kind_is_known check (kind in ('inbound', 'status', 'session_state')),
    reason      text        not null,
    carrier_id text,
    form        bytea       not null,
    received_at timestamptz not null default now(),
    replayed_at timestamptz,
    replay_outcome text constraint quarantine_replay_outcome_is_known
        check (replay_outcome in ('stored', 'skipped', 'duplicate', 'moved', 'unchanged', 'quarantined')),
    constraint a_replay_has_a_time_and_an_outcome check ((replayed_at is null) = (replay_outcome is null)),
    constraint what_still_fits_nothing_was_not_replayed check (replay_outcome <> 'quarantined')
);

create unique index carrier_message_is_quarantined_once on quarantine (project_id, carrier_id)
    where kind = 'inbound' and carrier_id is not null;
create index quarantine_newest_of_a_project on quarantine (project_id, id);
-- How much is in quarantine, for the metrics.
create index quarantine_that_was_not_replayed on quarantine (kind) where replayed_at is null;
