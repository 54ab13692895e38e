-- One of our numbers, attached to a project and answered by an agent.

create table number (
    id             uuid        not null constraint number_pk primary key,
    project_id     uuid        not null constraint number_belongs_to_a_project references project (id),
    number         text        not null constraint number_is_e164 check (number ~ '^\+[1-9][0-9]{6,14}$'),
    agent_id       uuid        not null constraint number_is_answered_by_an_agent references agent (id),
    -- The carrier's id of the number (PN…).
    carrier_sid    text        not null,
    -- When its webhooks were last set at the carrier; null while that is not known to have worked.
    webhook_set_at timestamptz,
    -- Where it is, by its digits (ISO 3166-1 alpha-2); null where they don't tell.
    country        text        constraint number_country_is_iso_3166 check (country ~ '^[A-Z]{2}$'),
    -- Whether its registration (A2P 10DLC, toll-free verification) lets it send, as far as the carrier has told.
    registration   text        not null default 'unknown' constraint number_registration_is_known
                               check (registration in ('not_required', 'unregistered', 'pending', 'approved', 'rejected', 'unknown')),
    created_at     timestamptz not null default now(),
    attached_at    timestamptz not null default now(),
    detached_at    timestamptz,
    -- When the carrier's list of inbound texts is read next, for those whose webhook never came.
    read_back_at   timestamptz not null default now(),
    -- The texts up to then, by the carrier's clock, are known. What came before the number was attached is not ours.
    heard_until    timestamptz not null default now()
);

-- Texts are routed by it. A number that is detached and attached again keeps its row: who opted out of it stays so.
create unique index number_has_one_row_in_a_project on number (project_id, number);
create index number_to_be_read_back on number (read_back_at) where detached_at is null;
