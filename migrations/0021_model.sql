-- Language models: their keys, what a turn of a model did, and each request to a model.

-- The key of an agent at its model's provider, encrypted. It is not part of a version, so that a
-- new key needs no new version.
create table model_key (
    agent_id   uuid        not null constraint model_key_pk primary key
                           constraint model_key_belongs_to_an_agent references agent (id) on delete cascade,
    project_id uuid        not null constraint model_key_belongs_to_a_project references project (id),
    key_id     text        not null,
    encrypted  bytea       not null,
    set_at     timestamptz not null default now()
);

-- A round of a turn: a message of the model that calls tools. It is written before the first of
-- them runs, so that an attempt after a crash runs the same calls.
create table model_round (
    turn_id    uuid        not null,
    round      integer     not null constraint rounds_count_from_zero check (round >= 0),
    project_id uuid        not null,
    session_id uuid        not null,
    message    jsonb       not null constraint message_of_a_model_is_an_object check (jsonb_typeof(message) = 'object'),
    created_at timestamptz not null default now(),
    constraint model_round_pk primary key (turn_id, round)
);

-- A call of a tool that has run, with its result. An attempt after a crash takes the result and
-- does not run the tool again.
create table tool_call (
    turn_id    uuid        not null,
    round      integer     not null,
    position   integer     not null constraint calls_count_from_zero check (position >= 0),
    project_id uuid        not null,
    session_id uuid        not null,
    name       text        not null,
    answer     jsonb,
    error      text,
    created_at timestamptz not null default now(),
    constraint tool_call_pk primary key (turn_id, round, position),
    constraint tool_call_belongs_to_a_round foreign key (turn_id, round) references model_round (turn_id, round) on delete cascade,
    constraint tool_call_has_an_answer_or_an_error check (num_nonnulls(answer, error) = 1)
);

create domain model_finish as text constraint model_finish_is_known check (value in ('done', 'length', 'filtered', 'failed'));

-- A request to a model, also one that failed.
create table model_request (
    id               bigint       not null generated always as identity constraint model_request_pk primary key,
    project_id       uuid         not null,
    session_id       uuid         not null,
    agent_id         uuid         not null,
    agent_version    integer      not null,
    turn_id          uuid         not null,
    attempt          integer      not null,
    round            integer      not null,
    model            text         not null,
    finish           model_finish not null,
    prompt_tokens    integer,
    cached_tokens    integer,
    output_tokens    integer,
    reasoning_tokens integer,
    cost             bigint       constraint cost_of_a_request_is_not_negative check (cost >= 0),
    milliseconds     integer      not null,
    error            text,
    created_at       timestamptz  not null default now(),
    constraint failed_request_tells_its_error check ((finish = 'failed') = (error is not null))
);

create index model_request_of_a_session on model_request (session_id, id);
-- Dashboards filter on the time.
create index model_request_by_time on model_request using brin (created_at) with (autosummarize = on);

-- What a project pays for the tokens of a model, in millionths of a currency of its choice.
create table model_price (
    project_id   uuid   not null constraint model_price_belongs_to_a_project references project (id),
    model        text   not null constraint priced_model_has_1_to_200_characters check (length(model) between 1 and 200),
    input        bigint not null constraint price_of_input_is_0_to_a_trillion check (input between 0 and 1000000000000),
    cached_input bigint          constraint price_of_cached_input_is_0_to_a_trillion check (cached_input between 0 and 1000000000000),
    output       bigint not null constraint price_of_output_is_0_to_a_trillion check (output between 0 and 1000000000000),
    constraint model_price_pk primary key (project_id, model)
);

-- What requests to models used on a day of UTC. A request counts with the most that it may use
-- until it is answered. The row is updated twice for each request, so pages keep room for that.
create table model_use_of_day (
    project_id uuid    not null constraint model_use_of_day_belongs_to_a_project references project (id),
    day        date    not null,
    tokens     bigint  not null,
    cost       bigint  not null,
    refused    integer not null default 0,
    constraint model_use_of_day_pk primary key (project_id, day)
) with (fillfactor = 50);

-- What requests to models used in a session.
create table model_use_of_session (
    session_id uuid    not null constraint model_use_of_session_pk primary key,
    project_id uuid    not null,
    tokens     bigint  not null,
    cost       bigint  not null,
    refused    integer not null default 0
) with (fillfactor = 50);

-- A request that is not answered yet, with what was counted for it. If its process ends, the row
-- is deleted later, and what was counted stays: the provider may charge for such a request.
create table model_reservation (
    id          uuid        not null constraint model_reservation_pk primary key,
    project_id  uuid        not null,
    session_id  uuid        not null,
    day         date        not null,
    tokens      bigint      not null,
    cost        bigint      not null,
    reserved_at timestamptz not null default now()
);

create index model_reservation_of_a_session on model_reservation (session_id);
create index model_reservation_of_a_day on model_reservation (project_id, day);
