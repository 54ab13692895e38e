comment on table inactivity is 'The inactivity job of an engaged session, which a message does not change: a job that comes due too early becomes due again later.';
comment on column inactivity.session_id is 'Id of the session.';
comment on column inactivity.project_id is 'Id of the project of the session.';
comment on column inactivity.due_at is 'Time at which src/domain/inactivity.rs decides whether the session is inactive.';
