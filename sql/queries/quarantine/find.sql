-- What is in the quarantine of a project ($1), by its id ($2), and the inbound message that has its
-- carrier id by now.
select quarantine.id, quarantine.kind as "kind: _", quarantine.reason, quarantine.carrier_id, quarantine.form, quarantine.received_at,
       quarantine.replayed_at, quarantine.replay_outcome as "replay_outcome: _", message.id as "message_id?",
       message.session_id as "session_id?", message.skip_reason as "skip_reason?: _"
  from quarantine
  left join message on quarantine.kind = 'inbound' and message.project_id = $1 and message.carrier_id = quarantine.carrier_id
 where quarantine.project_id = $1 and quarantine.id = $2
