-- What the views of the schema reporting need besides the tables of the product: docs/reporting.md.

create domain turn_end as text constraint turn_end_is_known check (value in ('silent', 'failed', 'cancelled'));
create domain turn_error_code as text constraint turn_error_code_is_known
    check (value in ('unusable', 'failed', 'over_limit', 'over_budget', 'answer_refused', 'worker_lost'));

-- The row of a turn is deleted when it is done, so its first message records what is of interest
-- later: a row for each turn would be a tenth more to write for a message. Null for other messages.
alter table message
    add column turn_created_at   timestamptz,
    add column turn_attempts     integer,
    add column turn_failures     integer,
    add column turn_messages     integer,
    add column turn_milliseconds integer,
    add column turn_error_code   turn_error_code;

-- A turn that is done and has no message. It has no foreign key, because it is written when a turn
-- settles.
create table turn_without_message (
    id            uuid            not null constraint turn_without_message_pk primary key,
    project_id    uuid            not null,
    session_id    uuid            not null,
    milliseconds  integer,
    attempts      integer         not null,
    failures      integer         not null,
    outcome       turn_end        not null,
    error_code    turn_error_code,
    created_at    timestamptz     not null,
    finished_at   timestamptz     not null default now()
);

-- When the end of a session that timed out was due. Its end is late by the time from then to
-- closed_at.
alter table session add column end_was_due_at timestamptz;

-- Filters on time read few pages by these. Their columns never change, so they stop no update from
-- being HOT.
create index message_by_time on message using brin (created_at) with (autosummarize = on);
create index delivery_by_time on delivery using brin (created_at) with (autosummarize = on);
create index session_by_time on session using brin (opened_at) with (autosummarize = on);
create index turn_without_message_of_a_session on turn_without_message (session_id);
create index turn_without_message_by_time on turn_without_message using brin (finished_at) with (autosummarize = on);

-- Which roles see which project in the views. A role that is not here sees nothing, unless it may
-- read the tables.
create table reporting_access (
    role_name  text        not null constraint reporting_access_pk primary key,
    project_id uuid        constraint reporting_access_is_to_a_project references project (id),
    granted_at timestamptz not null default now()
);

-- The key of the hashes that stand for contacts in the views: HMAC-SHA256, with the key combined
-- with its two pads. The role of the views can't read it.
create table reporting_key (
    is_the_key boolean not null constraint reporting_has_one_key_row primary key constraint reporting_key_is_true check (is_the_key),
    inner_pad  bytea   not null constraint inner_pad_has_64_bytes check (octet_length(inner_pad) = 64),
    outer_pad  bytea   not null constraint outer_pad_has_64_bytes check (octet_length(outer_pad) = 64)
);
