-- The agents with turns that were given up in the last $1 seconds because the processes that ran
-- them ended, the latest first, ten at most.
select project.name as project, agent.name as agent, agent_error.workers_lost as turns,
       extract(epoch from now() - agent_error.worker_lost_at)::float8 as "seconds!"
  from agent_error
  join agent on agent.id = agent_error.agent_id
  join project on project.id = agent_error.project_id
 where agent_error.worker_lost_at > now() - make_interval(secs => $1)
 order by agent_error.worker_lost_at desc
 limit 10
