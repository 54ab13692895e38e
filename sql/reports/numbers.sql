-- Health of numbers
-- What decides whether each number can receive and send, and how late its checks are.
-- chart: table
-- address (text): The number in E.164 or as a short code.
-- agent_name (text): Name of the agent that answers new sessions.
-- webhook (text): Whether the carrier sends inbound messages to textback: pending, ok, drifted or unreachable.
-- registration (text): Registration at the carrier.
-- send_policy (text): open (sent), held (wait for the registration) or blocked (fail).
-- refusal_reason (text): Why the number can't be used. Empty: it can.
-- is_inbound_blocked (whether): Whether inbound messages do not arrive although the webhook is right.
-- check_late_seconds (seconds): Time for which the next check has been due.
-- backfill_lag_seconds (seconds): Time since all inbound messages of the carrier were known to be stored.

select address, agent_name, webhook::text as webhook, registration::text as registration, send_policy::text as send_policy,
       refusal_reason::text as refusal_reason, is_inbound_blocked, check_late_seconds, backfill_lag_seconds
  from reporting.numbers_v1
 where is_attached or desired_state = 'attached'
 order by webhook = 'ok' and registration in ('approved', 'not_required') and send_policy = 'open' and not is_inbound_blocked, address
 limit 200;
