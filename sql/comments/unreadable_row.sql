comment on table unreadable_row is 'A row that was set aside because it made claims fail, until an operator deletes it here.';
comment on column unreadable_row.work is 'Kind of the job that could not claim it.';
comment on column unreadable_row.row_id is 'Id of the row: of a session for turns and inactivity, of a message for deliveries, or of a number.';
comment on column unreadable_row.project_id is 'Id of the project of the row.';
comment on column unreadable_row.why is 'The error in words.';
comment on column unreadable_row.times is 'Count of times that it was set aside.';
comment on column unreadable_row.first_at is 'Time at which it was first set aside.';
comment on column unreadable_row.last_at is 'Time at which it was last set aside.';
