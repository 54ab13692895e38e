-- The beginning of one statement, $1 the carrier's id, $2 our number, $3 the contact, $4 the text:
-- finds or opens the active session and records the message. Gives no row for a message that is
-- there already; each peer goes on with its job. (Two webhooks of the same message at the same
-- moment wait for each other at the session's row.)
with s as (
    insert into session (number, contact)
    select $2, $3 where not exists (select from message where provider_id = $1)
    on conflict (number, contact) where active do update set last_text_at = now()
    returning id
), m as (
    insert into message (provider_id, session_id, body)
    select $1, s.id, $4 from s
    on conflict (provider_id) do nothing
    returning id
)
