-- Stores a batch of inbound messages; the rows come back in the batch's order.
select outcome, why, message_id, session_id, agent_id, begun_at, seq, number_id, origin, begun_by_agent, agent_version, started,
       state, language, handled_seq
  from ingest($1, $2, $3, $4) order by ordinal
