-- One of our numbers: wanted by a project, found or bought at the carrier, answered by an agent.

create table number (
    id             uuid        not null constraint number_pk primary key,
    project_id     uuid        not null constraint number_belongs_to_a_project references project (id),
    number         text        not null constraint number_is_e164 check (number ~ '^\+[1-9][0-9]{6,14}$'),
    agent_id       uuid        not null constraint number_is_answered_by_an_agent references agent (id),
    -- Where it is, by its digits (ISO 3166-1 alpha-2); null where they don't tell.
    country        text        constraint number_country_is_iso_3166 check (country ~ '^[A-Z]{2}$'),

    -- What is to become of it. Written before anything is asked of the carrier, so that what a crash interrupts goes on.
    wanted         text        not null default 'attached' constraint number_wish_is_known
                               check (wanted in ('attached', 'detached', 'released')),
    -- Another one with each wish, so that who looked after an earlier wish knows that there is a new one.
    wish           uuid        not null,
    -- Whether it may be bought if the account does not own it; not any more once it was found, bought, or refused.
    may_buy        boolean     not null default false,
    -- The carrier's id of the number (PN…); null until it was found or bought. And the account that has it.
    carrier_sid    text,
    account_sid    text,
    -- Why it can't serve us, as was seen last.
    refused        text        constraint number_refusal_is_known check (refused in ('not_owned', 'not_for_sale', 'no_texts')),
    -- local, mobile, toll-free and the like, as the carrier says.
    number_type    text,

    -- Whether its texts come here, as far as was seen at the carrier last.
    webhook        text        not null default 'pending' constraint number_webhook_is_known
                               check (webhook in ('pending', 'ok', 'drifted', 'unreachable')),
    -- What is set there instead, or why nothing could be seen.
    webhook_detail text,
    -- Whether we may set it right again when somebody else changed it.
    mend_drift     boolean     not null default true,
    -- When its webhooks were last set at the carrier; null while that is not known to have worked.
    webhook_set_at timestamptz,
    -- Why inbound texts vanish though the webhook is right: a messaging service that does not defer to it.
    trap           text,

    -- Whether its registration (A2P 10DLC, toll-free verification) lets it send, as far as the carrier has told.
    registration   text        not null default 'unknown' constraint number_registration_is_known
                               check (registration in ('not_required', 'unregistered', 'pending', 'approved', 'rejected', 'unknown')),
    registration_detail text,
    -- What follows for its texts, by the policy of its country: they leave, wait for the approval, or are refused.
    sends          text        not null default 'open' constraint number_sends_is_known check (sends in ('open', 'held', 'blocked')),

    -- What was done at the carrier, the newest last: [{"at", "step", "detail"?}], thirty at most.
    steps          jsonb       not null default '[]' constraint number_steps_are_a_list check (jsonb_typeof(steps) = 'array'),
    -- When it is looked at next, and who does it now.
    check_at       timestamptz not null default now(),
    checked_at     timestamptz,
    lease_token    uuid,
    leased_until   timestamptz,

    created_at     timestamptz not null default now(),
    attached_at    timestamptz not null default now(),
    detached_at    timestamptz,
    -- When the carrier's list of inbound texts is read next, for those whose webhook never came.
    read_back_at   timestamptz not null default now(),
    -- The texts up to then, by the carrier's clock, are known. What came before the number was attached is not ours.
    heard_until    timestamptz not null default now(),
    constraint number_lease_has_token_and_end check ((lease_token is null) = (leased_until is null))
);

-- Texts are routed by it. A number that is detached and attached again keeps its row: who opted out of it stays so.
create unique index number_has_one_row_in_a_project on number (project_id, number);
create index number_to_be_read_back on number (read_back_at) where detached_at is null;
create index number_to_be_checked on number (check_at) where detached_at is null;
