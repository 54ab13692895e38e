-- Locks turns that are to be settled ($1 ids, $2 sessions, $3 tokens, $4 endpoints, $5 contacts, $6
-- the newest message that each knows of), and loads what decides about them.
select ordinal as "ordinal!", project_id as "project_id!", handled_seq as "handled_seq!", send_policy as "send_policy!: _",
       has_limits as "has_limits!", delivery_waits as "delivery_waits!", newer_message_id,
       warn_after_seconds as "warn_after_seconds!", current_warn_after_seconds as "current_warn_after_seconds!",
       pool_id
  from load_turns($1, $2, $3, $4, $5, $6)
