-- Fails (55P03) when another session holds a table that ingest needs for longer than a second. Takes the same locks as
-- ingest, which are released with the statement. A role that may not lock (42501) skips the check and does not wait.
do $$
begin
    perform set_config('lock_timeout', '1s', true);
    lock table project, carrier_account, number, agent, agent_version in access share mode;
    lock table session, message, medium, turn, silence, delivery, consent, quarantine in row exclusive mode;
exception
    when insufficient_privilege then null;
end $$
