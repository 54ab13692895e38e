-- What waits in quarantine
-- What waits in quarantine now, by kind and reason, and since when.
-- chart: table
-- kind (text): inbound (a message), status (a report about a delivery) or session_state.
-- reason (text): Why it fits no session.
-- waiting (count): Items that were not replayed.
-- oldest_received_at (time): When the oldest of them came.

select kind::text as kind, reason, count(*) as waiting, min(received_at) as oldest_received_at
  from reporting.quarantine_v1
 where replayed_at is null
 group by kind, reason
 order by waiting desc, kind, reason;
