-- Records that a project wants a number attached: answered by an agent, in an environment of the
-- agent (null: as it is, and live for a new number), in a country, bought if need be, its webhooks
-- repaired when they drift (null: as it is). A number that was detached comes back with its row;
-- messages that came in between are not ours. The caller reconciles the number at once; workers do
-- it later if the caller did not finish. Returns its id, or null: the number is being released
-- right now, which can't be undone.
create or replace function attach_number(
    new_id uuid, of_project uuid, wanted text, by_agent uuid, in_environment text, in_country text, buys boolean, repairs boolean,
    new_generation uuid
) returns uuid language plpgsql
set search_path = textback, pg_temp as $$
declare
    -- A variable, because a distributed table refuses now() inside case and coalesce.
    this_time timestamptz := now();
    later     timestamptz := now() + interval '2 minutes';
    locked    record;
begin
    select id, desired_state, leased_until, check_at is null as is_detached into locked
      from number where project_id = of_project and number = wanted for no key update;
    if not found then
        insert into endpoint (id, project_id, kind, agent_id, environment)
        values (new_id, of_project, 'number', by_agent, coalesce(in_environment, 'live'));
        insert into number (id, project_id, number, country, may_buy, repair_drift, generation, check_at)
        values (new_id, of_project, wanted, in_country, buys, coalesce(repairs, true), new_generation, later)
        on conflict (project_id, number) do nothing;
        if found then
            return new_id;
        end if;
        -- Another request was first.
        delete from endpoint where id = new_id;
        select id, desired_state, leased_until, check_at is null as is_detached into locked
          from number where project_id = of_project and number = wanted for no key update;
    end if;
    if locked.desired_state = 'released' and not locked.is_detached and locked.leased_until >= this_time then
        return null;
    end if;
    update number
       set country = in_country, may_buy = buys, repair_drift = coalesce(repairs, repair_drift), desired_state = 'attached',
           generation = new_generation, check_at = later,
           -- The request may come because the webhooks were changed since they were set.
           webhook_set_at = null,
           webhook = case when locked.is_detached then 'pending' else webhook end,
           webhook_detail = case when locked.is_detached then null else webhook_detail end,
           attached_at = case when locked.is_detached then this_time else attached_at end,
           backfill_at = coalesce(backfill_at, this_time),
           backfilled_until = case when locked.is_detached then this_time else backfilled_until end
     where id = locked.id;
    update endpoint set agent_id = by_agent, environment = coalesce(in_environment, environment), detached_at = null where id = locked.id;
    return locked.id;
end $$;
