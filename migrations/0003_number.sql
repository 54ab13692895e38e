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

-- The SMS and voice facts of an endpoint that is a phone number. The project requests it, and textback finds or buys it
-- at the carrier.
create table number (
    id             uuid        not null constraint number_pk primary key constraint number_is_an_endpoint references endpoint (id),
    project_id     uuid        not null constraint number_belongs_to_a_project references project (id),
    -- In E.164, or a short code: src/domain/phone_number.rs. Only E.164 begins with a plus.
    number         text        not null constraint number_is_e164_or_a_short_code check (number ~ '^(\+[1-9][0-9]{6,14}|[0-9]{3,8})$'),
    -- The country of the number by its digits (ISO 3166-1 alpha-2). It is null if the digits do not identify one
    -- country; those of a short code never do.
    country        text        constraint number_country_is_iso_3166 check (country ~ '^[A-Z]{2}$'),

    -- The desired state. It is written before the first call of the carrier, so the work resumes after a crash.
    desired_state  text        not null default 'attached' constraint number_desired_state_is_known
                               check (desired_state in ('attached', 'detached', 'released')),
    -- Changes with each request, so that a reconciliation for an earlier request detects the new one.
    generation     uuid        not null,
    -- Whether the number may be bought if the account does not own it. It becomes false when the number is found,
    -- bought or refused.
    may_buy        boolean     not null default false,
    -- The carrier's id of the number (PN…), which is null until the number is found or bought, and the account that
    -- owns it.
    carrier_id    text,
    account_sid    text,
    -- Why the number can't be used, as last observed.
    refusal_reason text        constraint number_refusal_reason_is_known
                               check (refusal_reason in ('not_owned', 'not_for_sale', 'no_texts')),
    -- The type of the number at the carrier: local, mobile, toll-free or short-code.
    number_type    text,

    -- Whether the carrier sends the inbound messages of the number to us, as last observed.
    webhook        text        not null default 'pending' constraint number_webhook_is_known
                               check (webhook in ('pending', 'ok', 'drifted', 'unreachable')),
    -- The setting at the carrier if it is another one, or why it could not be observed.
    webhook_detail text,
    -- Whether textback sets the webhook again after somebody else changed it.
    repair_drift   boolean     not null default true,
    -- When the webhooks were last set at the carrier. It is null until that succeeded once.
    webhook_set_at timestamptz,
    -- Why inbound messages do not arrive although the webhook is right: a messaging service does not defer to it.
    inbound_blocked_reason text,
    -- The carrier's id of the pool that the number is in, as last observed. It is kept when the number is detached, because an
    -- opt-out counts for the whole pool.
    pool_id        text,

    -- The registration (A2P 10DLC or toll-free verification) that the carrier reports.
    registration   text        not null default 'unknown' constraint number_registration_is_known
                               check (registration in ('not_required', 'unregistered', 'pending', 'approved', 'rejected', 'unknown')),
    registration_detail text,
    -- What happens to outbound messages by the policy of the country: they are sent, wait for the approval, or fail.
    send_policy    text        not null default 'open' constraint number_send_policy_is_known
                               check (send_policy in ('open', 'held', 'blocked')),

    -- What becomes of the messages that waited for the registration, in portions, the oldest decision first: [{at, class, detail}]
    -- for those planned until then. class: they fail with it; null: they are sent.
    held_plans     jsonb       not null default '[]' constraint held_plans_are_a_list check (jsonb_typeof(held_plans) = 'array'),

    -- The last thirty steps at the carrier, the newest last: [{"at", "step", "detail"?}].
    steps          jsonb       not null default '[]' constraint number_steps_are_a_list check (jsonb_typeof(steps) = 'array'),
    -- When the number is reconciled next (null while it is detached), and the lease of the worker that does it now.
    check_at       timestamptz default now(),
    checked_at     timestamptz,
    lease_token    uuid,
    leased_until   timestamptz,

    attached_at    timestamptz not null default now(),
    -- When inbound messages whose webhook never came are backfilled next. Null while it is detached.
    backfill_at    timestamptz default now(),
    -- The watermark of the backfill: all messages up to this time, by the carrier's clock, are stored. Messages before
    -- attached_at are not stored.
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
