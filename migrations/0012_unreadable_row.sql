-- Rows that were set aside.

-- A row that was set aside because it made claims fail, so that other rows can be claimed.
-- `textback doctor` reports these rows, and an operator deletes them here.
create table unreadable_row (
    work       text        not null,
    row_id     uuid        not null,
    project_id uuid        not null constraint unreadable_row_belongs_to_a_project references project (id),
    why        text        not null,
    times      integer     not null default 1,
    first_at   timestamptz not null default now(),
    last_at    timestamptz not null default now(),
    constraint unreadable_row_pk primary key (work, row_id)
);
