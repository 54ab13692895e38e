-- Rollups: what the views of the schema reporting tell, counted by hour.
-- docs/decisions/007-rollups.md explains them.

-- How far the job of the rollups has come. An hour is final when it has ended and no transaction
-- that may still add to it runs. From then on it is counted again only when a trigger marked it.
create table rollup_progress (
    is_the_row    boolean     not null default true constraint rollups_have_one_progress primary key
                              constraint rollup_progress_is_true check (is_the_row),
    due_at        timestamptz not null default now(),
    lease_token   uuid,
    leased_until  timestamptz,
    -- All hours before it are final, from counted_from on. Null until the first hour is.
    settled_until timestamptz,
    -- Hours before it had ended when the transaction ended_by began. They are final once all
    -- transactions before that one are over.
    ended_until   timestamptz,
    ended_by      xid8,
    -- The hours before it are not counted yet, from `oldest` on, the hour of the oldest row of this
    -- database.
    counted_from  timestamptz,
    oldest        timestamptz,
    -- When the hour that runs was counted, and when it is counted again.
    counted_at    timestamptz,
    count_at      timestamptz not null default now(),
    -- From when on marked hours may be counted again.
    recount_at    timestamptz not null default now(),
    created_at    timestamptz not null default now(),
    constraint rollup_lease_has_token_and_end check ((lease_token is null) = (leased_until is null)),
    constraint ended_hours_have_a_transaction check ((ended_until is null) = (ended_by is null))
);

insert into rollup_progress default values;

-- Hours of which something changed after they may have become final. The job counts them again and
-- deletes the rows. Without a unique constraint, because a transaction would wait for another one
-- that marks the same hour.
create table rollup_mark (
    id   bigint      not null generated always as identity constraint rollup_mark_pk primary key,
    hour timestamptz not null
);

-- Hours of a project of which rows were deleted after they were final. Their counts stay as they
-- are.
create table rollup_frozen (
    project_id uuid        not null constraint rollup_frozen_belongs_to_a_project references project (id) on delete cascade,
    hour       timestamptz not null,
    constraint rollup_frozen_pk primary key (project_id, hour)
);

-- The counts. Where a column has no value it has an empty text, 0 or infinity, because a primary
-- key has no nulls.
create table message_rollup (
    project_id   uuid        not null constraint message_rollup_belongs_to_a_project references project (id) on delete cascade,
    hour         timestamptz not null,
    endpoint_id  uuid        not null,
    agent_id     uuid        not null,
    channel      text        not null,
    direction    text        not null,
    kind         text        not null,
    skip_reason  text        not null,
    session_case text        not null,
    messages     bigint      not null,
    segments     bigint      not null,
    constraint message_rollup_pk primary key (project_id, hour, endpoint_id, agent_id, channel, direction, kind, skip_reason, session_case)
);

create table session_rollup (
    project_id     uuid             not null constraint session_rollup_belongs_to_a_project references project (id) on delete cascade,
    hour           timestamptz      not null,
    endpoint_id    uuid             not null,
    agent_id       uuid             not null,
    channel        text             not null,
    agent_version  integer          not null,
    origin         text             not null,
    session_case   text             not null,
    -- Empty in the hour in which a session was opened.
    end_reason     text             not null,
    opened         bigint           not null,
    closed         bigint           not null,
    closed_seconds double precision not null,
    constraint session_rollup_pk primary key (project_id, hour, endpoint_id, agent_id, channel, agent_version, origin, session_case, end_reason)
);

create table inactivity_rollup (
    project_id            uuid        not null constraint inactivity_rollup_belongs_to_a_project references project (id) on delete cascade,
    hour                  timestamptz not null,
    endpoint_id           uuid        not null,
    agent_id              uuid        not null,
    channel               text        not null,
    warned                bigint      not null,
    rescued               bigint      not null,
    ended                 bigint      not null,
    ended_otherwise       bigint      not null,
    waiting               bigint      not null,
    ended_without_warning bigint      not null,
    constraint inactivity_rollup_pk primary key (project_id, hour, endpoint_id, agent_id, channel)
);

create table turn_rollup (
    project_id    uuid        not null constraint turn_rollup_belongs_to_a_project references project (id) on delete cascade,
    hour          timestamptz not null,
    endpoint_id   uuid        not null,
    agent_id      uuid        not null,
    channel       text        not null,
    agent_version integer     not null,
    outcome       text        not null,
    error_code    text        not null,
    turns         bigint      not null,
    attempts      bigint      not null,
    failures      bigint      not null,
    messages      bigint      not null,
    constraint turn_rollup_pk primary key (project_id, hour, endpoint_id, agent_id, channel, agent_version, outcome, error_code)
);

create table delivery_rollup (
    project_id   uuid        not null constraint delivery_rollup_belongs_to_a_project references project (id) on delete cascade,
    hour         timestamptz not null,
    endpoint_id  uuid        not null,
    agent_id     uuid        not null,
    channel      text        not null,
    calling_code text        not null,
    status       text        not null,
    error_code   integer     not null,
    error_class  text        not null,
    deliveries   bigint      not null,
    attempts     bigint      not null,
    segments     bigint      not null,
    constraint delivery_rollup_pk primary key (project_id, hour, endpoint_id, agent_id, channel, calling_code, status, error_code, error_class)
);

create table segment_rollup (
    project_id        uuid        not null constraint segment_rollup_belongs_to_a_project references project (id) on delete cascade,
    hour              timestamptz not null,
    endpoint_id       uuid        not null,
    agent_id          uuid        not null,
    channel           text        not null,
    calling_code      text        not null,
    direction         text        not null,
    encoding          text        not null,
    is_at_the_carrier boolean     not null,
    messages          bigint      not null,
    segments          bigint      not null,
    constraint segment_rollup_pk primary key (project_id, hour, endpoint_id, agent_id, channel, calling_code, direction, encoding, is_at_the_carrier)
);

create table latency_rollup (
    project_id    uuid             not null constraint latency_rollup_belongs_to_a_project references project (id) on delete cascade,
    hour          timestamptz      not null,
    endpoint_id   uuid             not null,
    agent_id      uuid             not null,
    channel       text             not null,
    agent_version integer          not null,
    measure       text             not null,
    -- The upper bound of the bucket, which it does not contain: the function latency_bound.
    below_seconds double precision not null,
    observations  bigint           not null,
    seconds       double precision not null,
    constraint latency_rollup_pk primary key (project_id, hour, endpoint_id, agent_id, channel, agent_version, measure, below_seconds)
);

-- For the job, and for dashboards of all projects.
create index message_rollup_by_hour on message_rollup (hour);
create index session_rollup_by_hour on session_rollup (hour);
create index inactivity_rollup_by_hour on inactivity_rollup (hour);
create index turn_rollup_by_hour on turn_rollup (hour);
create index delivery_rollup_by_hour on delivery_rollup (hour);
create index segment_rollup_by_hour on segment_rollup (hour);
create index latency_rollup_by_hour on latency_rollup (hour);

-- The sessions that closed in an hour. It is no BRIN index: rows of sessions move when they change,
-- so those of one hour stand apart.
create index session_by_its_end on session (closed_at) where closed_at is not null;
