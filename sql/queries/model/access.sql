-- What a turn needs of the agent ($1) at its model's provider: the key, and what its project pays
-- for the model ($2).
select agent.project_id, model_key.key_id as "key_id?", model_key.encrypted as "encrypted?", model_key.set_at as "set_at?",
       price.input as "input?", price.cached_input as "cached_input?", price.output as "output?"
  from agent
  left join model_key on model_key.agent_id = agent.id
  left join model_price price on price.project_id = agent.project_id and price.model = $2
 where agent.id = $1
