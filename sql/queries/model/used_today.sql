-- What requests to models of a project ($1) used on this day of UTC, its limits, and when the day
-- ends.
select project.llm_max_tokens_per_day as most_tokens, project.llm_max_cost_per_day as most_cost,
       coalesce(used.tokens, 0) as "tokens!", coalesce(used.cost, 0) as "cost!",
       (date_trunc('day', now() at time zone 'UTC') + interval '1 day') at time zone 'UTC' as "resets_at!"
  from project
  left join model_use_of_day used on used.project_id = project.id and used.day = (now() at time zone 'UTC')::date
 where project.id = $1
