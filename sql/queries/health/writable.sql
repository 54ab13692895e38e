-- Fails (55P03) when another session holds a table that every inbound message needs for longer than a second. Takes the
-- same locks as take_in, which are released with the statement. A role that may not lock (42501) skips the check and does
-- not wait.
--
-- Read by each message:    project (its guards), carrier_account (its webhook's key), number (whom it is for), agent and
--                          agent_version (its session's pace)
-- Written by each message: message (itself), session (last_message_at), turn (the work that it makes), silence (when the
--                          session ends; locked for writing even when the job stays as it is)
--
-- Not here, because most messages are stored while one of these is held: medium (messages with media), consent (a first
-- message and keywords), delivery and scheduled_message (STOP, and a message after a warning or an end), project_pace (a
-- project with that guard), outbound_pace (what is cancelled and HELP), quarantine (what fits no session).
do $$
begin
    perform set_config('lock_timeout', '1s', true);
    lock table project, carrier_account, number, agent, agent_version in access share mode;
    lock table message, session, turn, silence in row exclusive mode;
exception
    when insufficient_privilege then null;
end $$
