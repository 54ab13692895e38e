-- Work that is waiting. Both tables carry leases by the database's clock: a worker that dies
-- loses its lease, one that comes back late finds its token gone.

-- The turn of a session that has unhandled messages. The row is the mark of work: it appears
-- with the message and goes when the turn settles, so the table stays as small as the backlog.
create table turn (
    session_id   uuid        not null constraint a_session_has_one_turn_at_a_time primary key
                                      constraint turn_belongs_to_a_session references session (id),
    -- Stays the same over all attempts.
    id           uuid        not null,
    -- The session's agent: a claim takes only so many turns of one agent.
    agent_id     uuid        not null,
    -- The newest message that this turn answers, fixed when it is claimed first.
    seen_seq     bigint,
    due_at       timestamptz not null,
    -- Counted when it is claimed, before the agent runs: a text that kills its worker counts too.
    attempts     integer     not null default 0,
    lease_token  uuid,
    leased_until timestamptz,
    last_error   text,
    created_at   timestamptz not null default now(),
    constraint turn_lease_has_token_and_end check ((lease_token is null) = (leased_until is null))
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

create index turn_that_is_due on turn (due_at);

-- The scheduled job of an engaged session: to look, when it is due, whether the session is silent. Texts don't move it:
-- it moves itself when it comes too early, so a session costs one write here a period and not one a text.
create table silence (
    session_id uuid        not null constraint a_session_has_one_silence_job primary key
                                    constraint silence_belongs_to_a_session references session (id),
    project_id uuid        not null,
    due_at     timestamptz not null
) with (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.02);

create index silence_that_is_due on silence (due_at);

-- The sending of one outbound message.
create table delivery (
    id           uuid        not null constraint delivery_pk primary key,
    message_id   uuid        not null constraint a_message_has_one_delivery unique
                                      constraint delivery_belongs_to_a_message references message (id),
    project_id   uuid        not null,
    session_id   uuid        not null,
    number_id    uuid        not null,
    contact      text        not null,
    seq          bigint      not null,
    status       text        not null default 'planned' constraint delivery_status_is_known check
        (status in ('planned', 'sending', 'accepted', 'sent', 'delivered', 'failed', 'unknown', 'suppressed')),
    -- Set while a worker has something to do with it, null when only the carrier has. The
    -- indexes below hold live rows alone, and a status callback touches no index (HOT).
    due_at       timestamptz,
    attempts     integer     not null default 0,
    lease_token  uuid,
    leased_until timestamptz,
    -- When the carrier was last about to be called: what it has of this text is not older.
    attempted_at timestamptz,
    carrier_sid  text,
    error_code   integer,
    error_class  text,
    error_detail text,
    created_at   timestamptz not null default now(),
    accepted_at  timestamptz,
    updated_at   timestamptz not null default now(),
    constraint delivery_lease_has_token_and_end check ((lease_token is null) = (leased_until is null)),
    constraint sending_delivery_is_leased check (status <> 'sending' or lease_token is not null),
    constraint only_a_sending_or_unknown_delivery_is_leased check (lease_token is null or status in ('sending', 'unknown')),
    constraint planned_sending_and_unknown_deliveries_are_due
        check (status not in ('planned', 'sending', 'unknown') or due_at is not null),
    constraint accepted_delivery_has_the_carriers_id check (status not in ('accepted', 'sent', 'delivered') or carrier_sid is not null)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);

create index delivery_that_is_due on delivery (due_at) where due_at is not null;
-- A contact's texts leave in order: the claim looks here for an earlier one.
create index delivery_in_order_of_a_contact on delivery (number_id, contact, seq) where due_at is not null;
create unique index delivery_has_one_carrier_message on delivery (project_id, carrier_sid) where carrier_sid is not null;
