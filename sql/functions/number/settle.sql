-- Writes what was observed and done at the carrier about a number, for the worker that has its
-- token. Returns whether the token holds. The caller settles the registration. facts: {generation
-- (that was reconciled), carrier_id, account_sid, number_type, refusal_reason, webhook,
-- webhook_detail, webhook_was_set, inbound_blocked_reason, pool_id, gone, steps: [{step, detail}],
-- check_in_seconds}. A key that is absent was not observed.
create or replace function settle_number(of_number uuid, by_token uuid, facts jsonb) returns boolean language plpgsql
set search_path = textback, pg_temp as $$
declare
    this_time timestamptz := now();
    locked      record;
    is_same   boolean;
begin
    select desired_state, generation into locked from number where id = of_number and lease_token = by_token for no key update;
    if not found then
        return false;
    end if;
    is_same := locked.generation = (facts ->> 'generation')::uuid;
    update number
       set carrier_id = case when not (facts ->> 'gone')::boolean then coalesce(facts ->> 'carrier_id', carrier_id) end,
           account_sid = coalesce(facts ->> 'account_sid', account_sid),
           -- A request that came meanwhile keeps its value.
           may_buy = may_buy and (not is_same or (facts ->> 'carrier_id' is null and facts ->> 'refusal_reason' is null)),
           refusal_reason = case when facts ->> 'carrier_id' is not null or facts ->> 'refusal_reason' is not null then facts ->> 'refusal_reason' else refusal_reason end,
           number_type = coalesce(facts ->> 'number_type', number_type),
           webhook = coalesce(facts ->> 'webhook', webhook),
           webhook_detail = case when facts ? 'webhook' then facts ->> 'webhook_detail' else webhook_detail end,
           -- Set since it was first observed to be right, whoever set it.
           webhook_set_at = case when not is_same then webhook_set_at
                                 when (facts ->> 'webhook_was_set')::boolean then this_time
                                 when facts ->> 'webhook' = 'ok' then coalesce(webhook_set_at, this_time)
                                 else webhook_set_at end,
           inbound_blocked_reason = case when facts ? 'inbound_blocked_reason' then facts ->> 'inbound_blocked_reason' else inbound_blocked_reason end,
           pool_id = case when facts ? 'pool_id' then facts ->> 'pool_id' else pool_id end,
           steps = (select coalesce(jsonb_agg(step order by ordinal), '[]')
                      from (select step, ordinal from jsonb_array_elements(
                                steps || (select coalesce(jsonb_agg(step || jsonb_build_object('at', this_time)), '[]')
                                            from jsonb_array_elements(facts -> 'steps') step)) with ordinality as all_steps (step, ordinal)
                             order by ordinal desc limit 30) newest),
           checked_at = this_time,
           -- A request that came meanwhile is reconciled at once.
           check_at = case when is_same
                           then this_time + make_interval(secs => (facts ->> 'check_in_seconds')::double precision) else this_time end,
           lease_token = null, leased_until = null
     where id = of_number;
    if (facts ->> 'gone')::boolean then
        -- A release that was requested meanwhile is still to be done, by the next reconciliation.
        if locked.desired_state = 'detached' or (locked.desired_state = 'released' and is_same) then
            perform detach_number(of_number);
        end if;
    end if;
    return true;
end $$;
