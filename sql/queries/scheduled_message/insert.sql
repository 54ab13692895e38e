-- Schedules the message $1 of a project ($2) from a number ($3) to a contact ($4), who may be in
-- the countries $5: its body ($6), the addresses of its media ($7), what it does to a session that
-- is there ($8), its time ($9), what it waits for ($10), and the pool that it is sent to ($11).
insert into scheduled_message (id, project_id, number_id, contact, countries, body, media_urls, on_active_session,
                               heeds_quiet_hours, send_at, due_at, waits_for, pool_id)
values ($1, $2, $3, $4, $5, $6, $7, $8, true, $9, $9, $10, $11)
