-- The endpoints of projects, and the phone numbers among them.

-- An address of a project on a channel, answered by an agent. Sessions and consents refer to it.
create table endpoint (
    id          uuid        not null constraint endpoint_pk primary key,
    project_id  uuid        not null constraint endpoint_belongs_to_a_project references project (id),
    kind        text        not null constraint endpoint_kind_is_known check (kind in ('number', 'widget')),
    agent_id    uuid        not null constraint endpoint_is_answered_by_an_agent references agent (id),
    environment agent_environment not null default 'live',
    created_at  timestamptz not null default now(),
    detached_at timestamptz
);

-- The SMS and voice facts of an endpoint that is a phone number. The project requests it, and
-- textback finds or buys it at the carrier.
create table number (
    id             uuid        not null constraint number_pk primary key constraint number_is_an_endpoint references endpoint (id),
    project_id     uuid        not null constraint number_belongs_to_a_project references project (id),
    number         text        not null constraint number_is_e164_or_a_short_code check (number ~ '^(\+[1-9][0-9]{6,14}|[0-9]{3,8})$'),
    country        text        constraint number_country_is_iso_3166 check (country ~ '^[A-Z]{2}$'),

    desired_state  text        not null default 'attached' constraint number_desired_state_is_known
                               check (desired_state in ('attached', 'detached', 'released')),
    generation     uuid        not null,
    may_buy        boolean     not null default false,
    carrier_id    text,
    account_sid    text,
    refusal_reason text        constraint number_refusal_reason_is_known
                               check (refusal_reason in ('not_owned', 'not_for_sale', 'no_texts')),
    number_type    text,

    webhook        text        not null default 'pending' constraint number_webhook_is_known
                               check (webhook in ('pending', 'ok', 'drifted', 'unreachable')),
    webhook_detail text,
    repair_drift   boolean     not null default true,
    webhook_set_at timestamptz,
    inbound_blocked_reason text,
    pool_id        text,

    registration   text        not null default 'unknown' constraint number_registration_is_known
                               check (registration in ('not_required', 'unregistered', 'pending', 'approved', 'rejected', 'unknown')),
    registration_detail text,
    send_policy    text        not null default 'open' constraint number_send_policy_is_known
                               check (send_policy in ('open', 'held', 'blocked')),

    held_plans     jsonb       not null default '[]' constraint held_plans_are_a_list check (jsonb_typeof(held_plans) = 'array'),

    steps          jsonb       not null default '[]' constraint number_steps_are_a_list check (jsonb_typeof(steps) = 'array'),
    check_at       timestamptz default now(),
    checked_at     timestamptz,
    lease_token    uuid,
    leased_until   timestamptz,

    attached_at    timestamptz not null default now(),
    backfill_at    timestamptz default now(),
    backfilled_until timestamptz not null default now(),
    constraint short_code_has_no_country check (number like '+%' or country is null),
    -- People lease it at the carrier, and end its lease there.
    constraint short_code_is_neither_bought_nor_released check (number like '+%' or (not may_buy and desired_state <> 'released')),
    constraint attached_number_is_checked_and_backfilled check ((check_at is null) = (backfill_at is null)),
    constraint number_lease_has_token_and_end check ((lease_token is null) = (leased_until is null))
);

-- Inbound messages are routed by this index.
create unique index number_has_one_row_in_a_project on number (project_id, number);
create index number_to_backfill on number (backfill_at) where backfill_at is not null;
create index number_to_check on number (check_at) where check_at is not null;
create index number_in_a_pool on number (project_id, pool_id) where pool_id is not null;
create index number_with_held_plans on number (id) where held_plans <> '[]';
