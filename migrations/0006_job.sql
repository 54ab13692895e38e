-- Work of sessions that is due: turns and inactivity jobs. Leases end by the clock of the database.

-- The turn of a session that has unhandled messages. It is inserted with the message and deleted when the turn settles, so the
-- table is as small as the backlog. A worker that dies loses its lease; one that comes back late finds another token.
create table turn (
    -- No foreign key: its check cost 3 % of a message. The id always comes from a session's row that the same transaction
    -- has locked or inserted, and sessions are never deleted. Invariant 4 checks it.
    session_id   uuid        not null constraint a_session_has_one_turn_at_a_time primary key,
    -- The same over all attempts.
    id           uuid        not null,
    -- The session's project and agent, because a claim takes only so many turns of one project and of one agent.
    project_id   uuid        not null,
    agent_id     uuid        not null,
    -- The newest message that this turn answers, fixed when it is claimed first.
    seen_seq     bigint,
    due_at       timestamptz not null,
    -- Counted when it is claimed, before the agent runs, so a message that kills its worker is counted too.
    attempts     integer     not null default 0,
    -- How often the agent itself failed.
    failures     integer     not null default 0,
    -- How often the process that ran the agent ended for an unknown reason. After too many times the turn is given up.
    interruptions integer    not null default 0,
    lease_token  uuid,
    leased_until timestamptz,
    last_error   text,
    created_at   timestamptz not null default now(),
    constraint turn_lease_has_token_and_end check ((lease_token is null) = (leased_until is null))
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

create index turn_that_is_due on turn (due_at);

-- The inactivity job of an engaged session. When it is due, domain/inactivity.rs decides whether the session is inactive. Messages
-- do not move it; a job that is due too early moves itself. So a session writes here once a period and not once a message.
create table inactivity (
    session_id uuid        not null constraint a_session_has_one_inactivity_job primary key
                                    constraint inactivity_belongs_to_a_session references session (id),
    project_id uuid        not null,
    due_at     timestamptz not null
) with (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.02);

create index inactivity_that_is_due on inactivity (due_at);
