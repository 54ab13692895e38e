-- Locks the contacts of the messages $1 and returns what decides about each of them.
select ordinal as "ordinal!", "now" as "now!", endpoint_id as "endpoint_id!", stored_message_id, stored_session_id,
       consent_kind as "consent_kind: ConsentKind", consent_at, session_id, session_status as "session_status: SessionStatus", engaged,
       has_turn as "has_turn!", session_warn_after_seconds, previous_session_id, paused_until, agent_id as "agent_id!",
       agent_version as "agent_version!", environment as "environment!: _", debounce_seconds as "debounce_seconds!", reads_history as "reads_history!",
       warn_after_seconds as "warn_after_seconds!", per_minute as "per_minute!",
       repeats_in_five_minutes as "repeats_in_five_minutes!", first_answer as "first_answer!",
       second_answer as "second_answer!", in_last_minute as "in_last_minute!",
       passed_in_last_minute as "passed_in_last_minute!", has_project_limit as "has_project_limit!",
       keyword_answers as "keyword_answers: _", own_words as "own_words: _", answers_reactions as "answers_reactions!",
       sent_messages as "sent_messages: _", sender as "sender!: _",
       origin as "origin: SessionOrigin", begun_by_agent as "begun_by_agent!", started as "started!",
       state as "state: Json<Map<String, Value>>", language, handled_seq
  from load_inbound($1)
