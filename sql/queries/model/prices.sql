-- The prices of a project ($1).
select model, input, cached_input, output from model_price where project_id = $1 order by model
