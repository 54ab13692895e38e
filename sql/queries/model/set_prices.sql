-- Replaces the prices of a project ($1): models ($2) with the prices of a million tokens of input
-- ($3), of cached input ($4) and of output ($5).
with given as (
     select model, input, cached_input, output
       from unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[]) as price (model, input, cached_input, output)),
     gone as (
     delete from model_price where project_id = $1 and model not in (select model from given))
insert into model_price (project_id, model, input, cached_input, output)
select $1, model, input, cached_input, output from given
on conflict on constraint model_price_pk do update
   set input = excluded.input, cached_input = excluded.cached_input, output = excluded.output
