-- Agents and their versions.

-- What answers sessions. A session keeps the version that it started with, so a change does not
-- affect running conversations.
create table agent (
    id              uuid        not null constraint agent_pk primary key,
    project_id      uuid        not null constraint agent_belongs_to_a_project references project (id),
    name            text        not null constraint agent_name_has_1_to_100_characters check (length(name) between 1 and 100),
    newest_version  integer     not null default 1,
    signing_key_id            text,
    signing_secret            bytea,
    previous_signing_secret   bytea,
    signing_secret_changed_at timestamptz,
    created_at      timestamptz not null default now(),
    constraint agent_name_is_unique_in_a_project unique (project_id, name),
    constraint signing_secret_names_the_key_that_opens_it check ((signing_secret is null) = (signing_key_id is null))
);

-- A version of an agent. The trigger agent_versions_never_change makes it immutable.
create table agent_version (
    agent_id         uuid        not null constraint agent_version_belongs_to_an_agent references agent (id),
    version          integer     not null constraint agent_versions_count_from_one check (version >= 1),
    spec             jsonb       not null
                                 constraint agent_kind_is_known check ((spec ->> 'kind') is not null and spec ->> 'kind' in ('script', 'http', 'llm'))
                                 constraint script_source_is_at_most_256_kb check (octet_length(spec ->> 'source') <= 262144)
                                 constraint url_has_at_most_2048_characters check (length(spec ->> 'url') <= 2048)
                                 constraint timeout_is_1_to_120_seconds check ((spec ->> 'timeout_seconds')::integer between 1 and 120),
    greeting         text        constraint greeting_fits_a_text check (length(greeting) <= 1600),
    first_message    text        not null default 'greet'
                                 constraint first_message_is_known check (first_message in ('greet', 'process', 'greet_then_process')),
    debounce_seconds integer     not null default 0
                                 constraint debounce_is_0_to_60_seconds check (debounce_seconds between 0 and 60),
    warn_after_seconds integer   not null default 86400
                                 constraint warn_after_is_1_second_to_30_days check (warn_after_seconds between 1 and 2592000),
    grace_seconds    integer     not null default 600
                                 constraint grace_is_1_second_to_30_days check (grace_seconds between 1 and 2592000),
    warning          text        not null constraint warning_fits_a_text check (length(warning) between 1 and 1600),
    closing          text        constraint closing_fits_a_text check (length(closing) between 1 and 1600),
    max_segments     integer     constraint max_segments_is_1_to_100 check (max_segments between 1 and 100),
    max_messages_per_turn integer not null default 10
                                 constraint max_messages_per_turn_is_1_to_50 check (max_messages_per_turn between 1 and 50),
    smart_encoding   boolean     not null default false,
    reactions        text        not null default 'ignore' constraint reactions_setting_is_known check (reactions in ('ignore', 'answer')),
    reads_history    boolean     not null,
    markdown         text        not null default 'keep' constraint markdown_setting_is_known check (markdown in ('plain', 'keep')),
    links            text        not null default 'any' constraint links_setting_is_known check (links in ('any', 'listed')),
    allowed_link_hosts text[]    not null default '{}'
                                 constraint at_most_50_link_hosts_are_allowed check (cardinality(allowed_link_hosts) <= 50),
    allowed_phone_numbers text[] not null default '{}'
                                 constraint at_most_50_phone_numbers_are_allowed check (cardinality(allowed_phone_numbers) <= 50),
    error_message    text        constraint error_message_fits_a_text check (length(error_message) <= 1600),
    created_at       timestamptz not null default now(),
    constraint agent_version_pk primary key (agent_id, version),
    constraint script_agent_has_a_source check (case spec ->> 'kind' when 'script' then (spec ->> 'source') is not null
                                                                     when 'http' then (spec ->> 'source') is null else true end),
    constraint llm_agent_has_a_model check ((spec ->> 'kind' = 'llm') = ((spec -> 'llm') is not null)),
    constraint http_agent_has_a_url check ((spec ->> 'kind' = 'http') = ((spec ->> 'url') is not null)),
    constraint allow_lists_need_listed_links
        check (links = 'listed' or cardinality(allowed_link_hosts) + cardinality(allowed_phone_numbers) = 0)
);

-- The last error of an agent, and how many of its turns were given up because the processes that
-- ran them ended. It is written when a turn fails, at most once a second, and not in the row of the
-- agent, which each message reads.
create table agent_error (
    agent_id        uuid        not null constraint agent_error_pk primary key
                                constraint agent_error_belongs_to_an_agent references agent (id) on delete cascade,
    project_id      uuid        not null constraint agent_error_belongs_to_a_project references project (id),
    at              timestamptz not null,
    code            text        not null constraint agent_error_code_is_known
                                check (code in ('unusable', 'failed', 'over_limit', 'over_budget', 'answer_refused', 'worker_lost')),
    message         text        not null constraint agent_error_has_at_most_500_bytes check (octet_length(message) <= 500),
    session_id      uuid        not null,
    version         integer     not null,
    workers_lost    integer     not null default 0,
    worker_lost_at  timestamptz,
    constraint agent_error_tells_when_a_worker_was_lost check ((workers_lost = 0) = (worker_lost_at is null))
);

-- Which version of an agent new sessions get, in each of its environments. It is a table of its own
-- because each message reads it, and the row of the agent holds secrets.
create domain agent_environment as text constraint agent_environment_is_known check (value in ('sandbox', 'live'));
create table active_version (
    agent_id    uuid              not null constraint active_version_belongs_to_an_agent references agent (id),
    environment agent_environment not null,
    version     integer           not null,
    constraint active_version_pk primary key (agent_id, environment),
    constraint active_version_exists foreign key (agent_id, version) references agent_version (agent_id, version)
);

-- What was activated, in order. A rollback marks the newest activation that is not rolled back, so
-- the one before it is the active one again.
create table activation (
    seq            bigint            not null generated always as identity constraint activation_pk primary key,
    agent_id       uuid              not null constraint activation_belongs_to_an_agent references agent (id),
    environment    agent_environment not null,
    version        integer           not null,
    activated_at   timestamptz       not null default now(),
    rolled_back_at timestamptz,
    constraint activated_version_exists foreign key (agent_id, version) references agent_version (agent_id, version)
);
create index activation_newest_of_an_environment on activation (agent_id, environment, seq);
