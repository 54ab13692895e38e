-- Takes the newest activation of an environment back, so that the version before it is active
-- again. Returns that version; null: there is none before. The caller holds the lock of the agent's
-- row.
create or replace function roll_back_activation(of_agent uuid, in_environment text) returns integer language plpgsql
set search_path = textback, pg_temp as $$
declare
    -- The newest activation that counts, and the one before it.
    newest   activation[] := array(
        select activation from activation
         where agent_id = of_agent and environment = in_environment and rolled_back_at is null
         order by seq desc limit 2);
    previous integer := newest[2].version;
begin
    if previous is not null then
        update activation set rolled_back_at = now() where seq = newest[1].seq;
        update active_version set version = previous where agent_id = of_agent and environment = in_environment;
    end if;
    return previous;
end $$;
