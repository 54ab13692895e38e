-- Scheduled messages, idempotency keys, and templates.

-- A message that is sent at a later time, or after the turn whose agent sends it. When it is due,
-- one transaction creates a message with the same id and deletes this row.
create table scheduled_message (
    id                uuid        not null constraint scheduled_message_pk primary key,
    project_id        uuid        not null constraint scheduled_message_belongs_to_a_project references project (id),
    number_id         uuid        not null constraint scheduled_message_leaves_from_a_number references number (id),
    pool_id           text,
    contact           text        not null,
    countries         text[]      not null default '{}',
    body              text        not null constraint scheduled_message_fits_a_text check (length(body) <= 1600),
    media_urls        text[]      not null default '{}' constraint scheduled_message_has_at_most_10_media check (cardinality(media_urls) <= 10),
    on_active_session text        not null constraint scheduled_message_knows_what_to_do_with_a_session
                                  check (on_active_session in ('supersede', 'join', 'reject')),
    heeds_quiet_hours boolean     not null,
    turn_id           uuid,
    send_at           timestamptz not null,
    due_at            timestamptz,
    waits_for         text        not null default 'send_time' constraint what_a_scheduled_message_waits_for_is_known
                                  check (waits_for in ('send_time', 'quiet_hours', 'outbound_limit')),
    refusal_reason    text        constraint scheduled_message_refusal_reason_is_known
                                  check (refusal_reason in ('cancelled', 'contact_opted_out', 'session_active', 'number_detached',
                                                            'unreadable', 'turn_limit_reached', 'contact_limit_reached',
                                                            'project_limit_reached', 'to_is_from', 'country_not_allowed',
                                                            'contact_is_landline')),
    created_at        timestamptz not null default now(),
    constraint scheduled_message_is_due_or_refused check ((due_at is null) = (refusal_reason is not null))
);

create index scheduled_message_that_is_due on scheduled_message (due_at) where due_at is not null;
create index scheduled_message_to_a_contact on scheduled_message (number_id, contact) where due_at is not null;
create index scheduled_message_newest_of_a_project on scheduled_message (project_id, id);

-- The key of a request that may be repeated. The same key with the same request gets the first
-- answer. Keys are stored for a week.
create table idempotency_key (
    project_id   uuid        not null constraint idempotency_key_belongs_to_a_project references project (id),
    key          text        not null constraint idempotency_key_has_1_to_255_characters check (length(key) between 1 and 255),
    request_hash bytea       not null constraint request_hash_is_sha256 check (octet_length(request_hash) = 32),
    message_id   uuid        not null,
    session_id   uuid,
    send_at      timestamptz,
    number       text,
    pool_id      text,
    created_at   timestamptz not null default now(),
    constraint idempotency_key_pk primary key (project_id, key)
);

create index idempotency_key_oldest on idempotency_key (created_at);

-- A named message body with variables.
create table template (
    project_id uuid        not null constraint template_belongs_to_a_project references project (id),
    name       text        not null constraint template_name_is_a_word check (name ~ '^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$'),
    body       text        not null constraint template_has_1_to_500_characters check (length(body) between 1 and 500),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint template_pk primary key (project_id, name)
);
