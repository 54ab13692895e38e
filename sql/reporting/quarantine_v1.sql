-- What is in quarantine, without its content.
create or replace view reporting.quarantine_v1 with (security_barrier) as
select quarantine.project_id, quarantine.id as quarantine_id, quarantine.kind, quarantine.reason,
       octet_length(quarantine.form) as bytes, quarantine.received_at, quarantine.replayed_at, quarantine.replay_outcome
  from quarantine
 where quarantine.project_id in (select project_id from reporting.projects_v1);

comment on view reporting.quarantine_v1 is 'One row for each webhook or state that fits no session and is kept as it came. Its content is not here: "textback quarantine show".';
comment on column reporting.quarantine_v1.project_id is 'Id of the project.';
comment on column reporting.quarantine_v1.quarantine_id is 'Id of the item in quarantine.';
comment on column reporting.quarantine_v1.kind is 'inbound (a message), status (a report about a delivery) or session_state (of a session that could not be read).';
comment on column reporting.quarantine_v1.reason is 'Why it fits no session, or the constraint or error of the database that refused it.';
comment on column reporting.quarantine_v1.bytes is 'Size of what is kept, in bytes.';
comment on column reporting.quarantine_v1.received_at is 'Time at which it came.';
comment on column reporting.quarantine_v1.replayed_at is 'Time at which it was processed again. Null: it still waits.';
comment on column reporting.quarantine_v1.replay_outcome is 'What became of it then: stored, skipped, duplicate, moved or unchanged. Null: it still waits.';
