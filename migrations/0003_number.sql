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
    created_at     timestamptz not null default now(),
    detached_at    timestamptz,
    -- When the carrier's list of inbound texts is read next, for those whose webhook never came.
    read_back_at   timestamptz not null default now(),
    -- The texts up to then, by the carrier's clock, are known. What came before the number was attached is not ours.
    heard_until    timestamptz not null default now()
);

-- Texts are routed by it: within a project a number leads to one row that is in use.
create unique index number_is_attached_once on number (project_id, number) where detached_at is null;
create index number_to_be_read_back on number (read_back_at) where detached_at is null;
