-- Stores a request that fits no session, as it came: an inbound text that a constraint refused, or
-- a status report without a delivery. A text that is stored already stays as it is.
insert into quarantine (id, project_id, kind, reason, carrier_id, form)
values ($1, $2, $3, $4, $5, $6)
on conflict do nothing
