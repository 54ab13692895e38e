-- Sessions.

-- Domains check the values of columns in busy tables. Each statement that writes to a table reads
-- and plans its check constraints. The checks of a domain are planned once per connection, and run
-- only when the column is written. That saves 6 % of PostgreSQL's work for a message.
create domain session_channel as text constraint session_channel_is_known check (value in ('sms', 'webchat', 'voice'));
create domain session_status as text constraint session_status_is_known check (value in ('open', 'warned', 'closed'));
create domain session_origin as text constraint session_origin_is_known check (value in ('inbound', 'outbound'));

-- The limit is on the state as text and not as stored, because jsonb stores 1e99999 in 12 bytes and
-- each claim of a turn prints it. src/domain/bounds.rs has the same limit.
create domain session_state as jsonb constraint session_state_is_an_object check (jsonb_typeof(value) = 'object')
    constraint session_state_has_at_most_256_kb_as_text check (octet_length(value::text) <= 262144);
create domain session_close_reason as text constraint session_close_reason_is_known
    check (value in ('agent_ended', 'operator_ended', 'timed_out', 'opted_out', 'superseded', 'unreadable'));

-- A session is one conversation between an endpoint and a contact on a channel.
create table session (
    id                  uuid                 not null constraint session_pk primary key,
    project_id          uuid                 not null constraint session_belongs_to_a_project references project (id),
    endpoint_id         uuid                 not null constraint session_is_held_on_an_endpoint references endpoint (id),
    contact             text                 not null,
    channel             session_channel      not null,
    status              session_status       not null,
    origin              session_origin       not null,
    begun_by_turn       uuid,
    pool_id             text,
    engaged             boolean              not null,
    agent_id            uuid                 not null,
    agent_version       integer              not null,
    environment         agent_environment    not null default 'live',
    state               session_state        not null default '{}',
    language            text,
    -- The watermark: every inbound message up to this seq is handled, because a turn handles all
    -- messages that wait. It is in a row that the turn writes anyway, and messages stay
    -- append-only.
    handled_seq         bigint               not null default 0,
    started_at          timestamptz,
    opened_at           timestamptz          not null default now(),
    last_message_at     timestamptz          not null default now(),
    warn_after_seconds  integer              not null,
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

-- Guarantees one active session. The advisory lock of the contact only keeps callers from violating
-- this index.
create unique index one_session_not_closed_per_endpoint_contact_and_channel
    on session (endpoint_id, contact, channel) where status <> 'closed';

-- The condition is always true. It keeps queries for an id alone from using this index. On an empty
-- table all indexes cost the same, and a plan that is cached then could read this whole index.
create index session_newest_of_a_project on session (project_id, id) where project_id is not null;
create index session_newest_of_a_contact on session (project_id, contact, id) where project_id is not null;
