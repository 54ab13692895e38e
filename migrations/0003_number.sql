-- The endpoints of projects, and the phone numbers among them.

-- An address of a project on a channel, answered by an agent. Sessions and consents refer to it.
create table endpoint (
    id          uuid        not null constraint endpoint_pk primary key,
    project_id  uuid        not null constraint endpoint_belongs_to_a_project references project (id),
    kind        text        not null constraint endpoint_kind_is_known check (kind in ('number', 'widget')),
    agent_id    uuid        not null constraint endpoint_is_answered_by_an_agent references agent (id),
    created_at  timestamptz not null default now(),
    -- Null while it is attached. One that is detached and attached again keeps its row, and so its opt-outs.
    detached_at timestamptz
);

-- What text messages and calls need of an endpoint that is a phone number: requested by a project, found or bought at the carrier.
create table number (
    id             uuid        not null constraint number_pk primary key constraint number_is_an_endpoint references endpoint (id),
    project_id     uuid        not null constraint number_belongs_to_a_project references project (id),
    number         text        not null constraint number_is_e164 check (number ~ '^\+[1-9][0-9]{6,14}$'),
    -- The country of the number by its digits (ISO 3166-1 alpha-2); null where the digits don't tell.
    country        text        constraint number_country_is_iso_3166 check (country ~ '^[A-Z]{2}$'),

    -- The state that the project wants. It is written before the carrier is asked for anything, so work goes on after a crash.
    desired_state  text        not null default 'attached' constraint number_desired_state_is_known
                               check (desired_state in ('attached', 'detached', 'released')),
    -- Changes with each request, so that a reconciliation of an earlier request notices the new one.
    generation     uuid        not null,
    -- Whether it may be bought if the account does not own it. False again once it was found, bought, or refused.
    may_buy        boolean     not null default false,
    -- The carrier's id of the number (PN…), null until it was found or bought, and the account that owns it.
    carrier_sid    text,
    account_sid    text,
    -- Why the number can't be used, as observed last.
    refusal_reason text        constraint number_refusal_reason_is_known
                               check (refusal_reason in ('not_owned', 'not_for_sale', 'no_texts')),
    -- The kind of number by the carrier: local, mobile, toll-free.
    number_type    text,

    -- Whether its inbound messages come to us, as observed at the carrier last.
    webhook        text        not null default 'pending' constraint number_webhook_is_known
                               check (webhook in ('pending', 'ok', 'drifted', 'unreachable')),
    -- What is set at the carrier instead, or why it could not be observed.
    webhook_detail text,
    -- Whether we set the webhook again when somebody else changed it.
    repair_drift   boolean     not null default true,
    -- When its webhooks were last set at the carrier; null until that has worked.
    webhook_set_at timestamptz,
    -- Why inbound messages don't arrive though the webhook is right: a messaging service that does not defer to it.
    inbound_blocked_reason text,

    -- The registration (A2P 10DLC, toll-free verification), as far as the carrier reports it.
    registration   text        not null default 'unknown' constraint number_registration_is_known
                               check (registration in ('not_required', 'unregistered', 'pending', 'approved', 'rejected', 'unknown')),
    registration_detail text,
    -- What follows for outbound messages by the policy of the country: they leave, wait for the approval, or fail.
    send_policy    text        not null default 'open' constraint number_send_policy_is_known
                               check (send_policy in ('open', 'held', 'blocked')),

    -- What was done at the carrier, newest last, thirty at most: [{"at", "step", "detail"?}].
    steps          jsonb       not null default '[]' constraint number_steps_are_a_list check (jsonb_typeof(steps) = 'array'),
    -- When the number is reconciled next (null while it is detached), and the lease of the worker that does it now.
    check_at       timestamptz default now(),
    checked_at     timestamptz,
    lease_token    uuid,
    leased_until   timestamptz,

    attached_at    timestamptz not null default now(),
    -- When the carrier's list of inbound messages is read next, for those whose webhook never came. Null while it is detached.
    backfill_at    timestamptz default now(),
    -- The messages up to this time, by the carrier's clock, are known. Earlier than attached_at they are not ours.
    backfilled_until timestamptz not null default now(),
    constraint attached_number_is_checked_and_backfilled check ((check_at is null) = (backfill_at is null)),
    constraint number_lease_has_token_and_end check ((lease_token is null) = (leased_until is null))
);

-- Inbound messages are routed by this index.
create unique index number_has_one_row_in_a_project on number (project_id, number);
create index number_to_backfill on number (backfill_at) where backfill_at is not null;
create index number_to_check on number (check_at) where check_at is not null;
