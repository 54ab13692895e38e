-- Rows that were set aside.

-- A row that made claims fail and was set aside, so that it does not affect other rows. doctor reports these rows. An operator
-- deletes a row here after a look at it.
create table unreadable_row (
    -- The kind of work, and the id of its row: a session for turns and inactivity, a message for deliveries, or a number.
    work       text        not null,
    row_id     uuid        not null,
    project_id uuid        not null constraint unreadable_row_belongs_to_a_project references project (id),
    why        text        not null,
    times      integer     not null default 1,
    first_at   timestamptz not null default now(),
    last_at    timestamptz not null default now(),
    constraint unreadable_row_pk primary key (work, row_id)
);
