-- Keeps a status report that fits no delivery, as it came.
insert into quarantine (id, project_id, kind, reason, carrier_sid, form)
values ($1, $2, 'status', $3, $4, $5)
