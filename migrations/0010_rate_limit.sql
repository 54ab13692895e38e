-- The windows of rate limits, inbound and outbound.

-- How many inbound messages a project has in the current minute of the clock. It is written only
-- for projects with that limit.
create table inbound_rate_window (
    project_id uuid        not null constraint a_project_has_one_inbound_rate_window primary key
                                    constraint inbound_rate_window_belongs_to_a_project references project (id),
    minute     timestamptz not null,
    texts      integer     not null
) with (fillfactor = 50);

-- How many outbound messages were planned in the current windows. It is written only if a limit is
-- set. A window begins with its first message and not with an hour of the clock.
create table outbound_rate_window (
    project_id  uuid        not null constraint outbound_rate_window_belongs_to_a_project references project (id),
    contact     text        not null,
    short_began timestamptz not null,
    short_sent  integer     not null,
    day_began   timestamptz not null,
    day_sent    integer     not null,
    constraint outbound_rate_window_pk primary key (project_id, contact)
) with (fillfactor = 50);
