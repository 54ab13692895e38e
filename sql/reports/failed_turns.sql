-- Turns that failed
-- The last 50 turns that were given up, with why.
-- chart: table
-- finished_at (time): When the turn was given up.
-- agent_name (text): Name of the agent.
-- agent_version (text): Number of the version of the agent.
-- error_code (text): Why it failed. Empty: the agent is not to blame.
-- attempts (count): Attempts, with the last one.
-- total_seconds (seconds): Time from the first message of the turn to its end.
-- session_id (text): Session of the turn.

select finished_at, agent_name, agent_version::text as agent_version, error_code, attempts, total_seconds, session_id::text as session_id
  from reporting.turns_v1
 where outcome = 'failed' and finished_at >= $1::timestamptz and finished_at < $2::timestamptz
 order by finished_at desc
 limit 50;
