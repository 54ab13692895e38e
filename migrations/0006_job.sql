-- The jobs of sessions: turns and inactivity jobs. Leases end by the clock of the database.

-- The turn of a session with unhandled messages. It is inserted with the message and deleted when
-- it settles, so the table is as small as the backlog. When a worker dies, its lease ends. A worker
-- that continues too late finds another token.
create table turn (
    -- There is no foreign key, because its check cost 3 % of a message. The id always comes from
    -- the row of a session that the same transaction has locked or inserted (invariant 4).
    session_id   uuid        not null constraint a_session_has_one_turn_at_a_time primary key,
    id           uuid        not null,
    project_id   uuid        not null,
    agent_id     uuid        not null,
    seen_seq     bigint,
    due_at       timestamptz not null,
    attempts     integer     not null default 0,
    failures     integer     not null default 0,
    interruptions integer    not null default 0,
    lease_token  uuid,
    leased_until timestamptz,
    last_error   text,
    created_at   timestamptz not null default now(),
    constraint turn_lease_has_token_and_end check ((lease_token is null) = (leased_until is null))
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

create index turn_that_is_due on turn (due_at);

-- The inactivity job of an engaged session. When it is due, src/domain/inactivity.rs decides
-- whether the session is inactive. If it is not, the job becomes due again later. A message does
-- not change the job, so a session writes here once per period and not once per message.
create table inactivity (
    session_id uuid        not null constraint a_session_has_one_inactivity_job primary key
                                    constraint inactivity_belongs_to_a_session references session (id),
    project_id uuid        not null,
    due_at     timestamptz not null
) with (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.02);

create index inactivity_that_is_due on inactivity (due_at);
