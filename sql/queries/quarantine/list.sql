-- What is in the quarantine of a project ($1), newest first: of a kind ($2), for a reason ($3),
-- received since a time ($4), replayed or not ($5), before an item ($6), at most $7. A filter that
-- is null lets all pass. What is more than one word of a reason, such as the id of a session,
-- follows a colon.
select id, kind as "kind: _", reason, carrier_id, received_at, replayed_at, replay_outcome as "replay_outcome: _"
  from quarantine
 where project_id = $1
   and ($2::text is null or kind = $2)
   and ($3::text is null or reason = $3 or starts_with(reason, $3 || ': '))
   and ($4::timestamptz is null or received_at >= $4)
   and ($5::boolean is null or (replayed_at is not null) = $5)
   and ($6::uuid is null or id < $6)
 order by id desc
 limit $7
