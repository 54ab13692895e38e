-- Keeps what fits no session, as it came: an inbound text that was refused by a constraint, or a status report of no delivery. A text
-- that is kept already stays as it is.
insert into quarantine (id, project_id, kind, reason, carrier_sid, form)
values ($1, $2, $3, $4, $5, $6)
on conflict do nothing
