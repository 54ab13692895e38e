-- Refuses the scheduled messages $1, which are locked, for the reasons $2.
update scheduled_message set due_at = null, refusal_reason = refused.reason
  from unnest($1::uuid[], $2::text[]) as refused (id, reason)
 -- As in inactivity/postpone.
 cross join lateral (select known.ctid as row_ctid from scheduled_message known where known.id = refused.id limit 1) message
 where scheduled_message.ctid = message.row_ctid
