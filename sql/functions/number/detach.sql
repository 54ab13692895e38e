-- Detaches a number that the project no longer has. Its held deliveries fail and its scheduled
-- messages are refused; otherwise they would leave years later, when the number comes back. A
-- scheduled message to a pool gets another number of it.
create or replace function detach_number(of_number uuid) returns void language plpgsql
set search_path = textback, pg_temp as $$
begin
    update number
       set check_at = null, backfill_at = null, carrier_id = null, account_sid = null, may_buy = false, refusal_reason = null, send_policy = 'open',
           registration = 'unknown', registration_detail = null, lease_token = null, leased_until = null
     where id = of_number;
    update endpoint set detached_at = now() where id = of_number;
    perform plan_held_deliveries(of_number, 'permanent_config', 'number_detached: its number was let go before it was sent');
    update scheduled_message set due_at = null, refusal_reason = 'number_detached'
     where number_id = of_number and pool_id is null and due_at is not null;
end $$;
