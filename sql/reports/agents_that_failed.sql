-- Agents and their last errors
-- The last error of each agent, and how many of its turns were given up because their processes ended.
-- chart: table
-- agent_name (text): Name of the agent.
-- last_error_code (text): Last error: unusable, failed, over_limit, over_budget, answer_refused or worker_lost.
-- last_error_at (time): When it happened. It stays after the agent succeeded again.
-- workers_lost (count): Turns that were given up because the processes that ran them ended.

select name as agent_name, last_error_code, last_error_at, workers_lost
  from reporting.agents_v1
 where last_error_at is not null or workers_lost > 0
 order by last_error_at desc nulls last, agent_name;
