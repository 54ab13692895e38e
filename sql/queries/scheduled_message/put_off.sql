-- Puts off the scheduled messages $1, which are locked, to the times $2, for the reasons $3.
update scheduled_message set due_at = put_off.due_at, waits_for = put_off.reason
  from unnest($1::uuid[], $2::timestamptz[], $3::text[]) as put_off (id, due_at, reason)
 -- As in inactivity/postpone.
 cross join lateral (select known.ctid as row_ctid from scheduled_message known where known.id = put_off.id limit 1) message
 where scheduled_message.ctid = message.row_ctid
