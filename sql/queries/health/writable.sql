-- Fails (55P03) when another session holds a table that every inbound message needs for longer than
-- a second. Takes the same locks as ingest, which are released with the statement. A role that may
-- not write fails at once (42501).
--
-- Read by each message: project (rate limits), carrier_account (webhook key), number (recipient),
-- active_version and agent_version (inactivity and debounce of the session), consent (opt-outs).
-- Written by each message: message, session (last_message_at), turn (the new work), inactivity
-- (locked for writing even when the job stays as it is).
--
-- Not here, because most messages are stored while one of these is locked: attachment (messages
-- with media), delivery and scheduled_message (STOP, and a message after a warning or an end),
-- inbound_rate_window (projects with that limit), outbound_rate_window (cancelled messages and
-- HELP), quarantine (messages without a session).
do $$
begin
    perform set_config('lock_timeout', '1s', true);
    lock table project, carrier_account, number, active_version, agent_version, consent in access share mode;
    lock table message, session, turn, inactivity in row exclusive mode;
end $$
