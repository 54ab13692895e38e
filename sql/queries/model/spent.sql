-- Projects that have reached a limit of models on this day of UTC, with the number of requests that
-- were not made. At most fifty.
select project.name, used.refused
  from model_use_of_day used
  join project on project.id = used.project_id
 where used.day = (now() at time zone 'UTC')::date and used.refused > 0
   and (project.llm_max_tokens_per_day > 0 and used.tokens >= project.llm_max_tokens_per_day
        or project.llm_max_cost_per_day > 0 and used.cost >= project.llm_max_cost_per_day)
 order by project.name
 limit 50
