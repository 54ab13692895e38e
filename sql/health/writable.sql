-- Fails (55P03) when somebody holds a table that ingest reads or writes for longer than a second. The locks are those that ingest takes, and
-- go with the statement. Who may not lock (42501) learns nothing and is not held up.
do $$
begin
    perform set_config('lock_timeout', '1s', true);
    lock table project, carrier_account, number, agent, agent_version in access share mode;
    lock table session, message, medium, turn, silence, delivery, consent, quarantine in row exclusive mode;
exception
    when insufficient_privilege then null;
end $$
