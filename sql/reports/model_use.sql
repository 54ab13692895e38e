-- Language models
-- What requests to each model came to: failures, tokens, cost and time.
-- chart: table
-- agent_name (text): Name of the agent.
-- model (text): Name of the model at its provider.
-- requests (count): Requests, with those that failed.
-- failed_share (share): Requests that got no answer, of all.
-- prompt_tokens (count): Tokens of the requests, where servers tell.
-- cached_share (share): Tokens of requests that the provider had cached, of those that servers tell.
-- output_tokens (count): Tokens of the answers.
-- cost_millionths (count): Cost in millionths of the currency of the prices. Empty: no price.
-- p95_seconds (seconds): 95 of 100 requests took less.

select agent_name, model, count(*) as requests,
       (count(*) filter (where finish = 'failed'))::double precision / count(*) as failed_share,
       sum(prompt_tokens)::bigint as prompt_tokens,
       sum(cached_tokens)::double precision / nullif(sum(prompt_tokens), 0) as cached_share,
       sum(output_tokens)::bigint as output_tokens, sum(cost)::bigint as cost_millionths,
       percentile_cont(0.95) within group (order by seconds) as p95_seconds
  from reporting.model_requests_v1
 where created_at >= $1::timestamptz and created_at < $2::timestamptz
 group by agent_name, model
 order by requests desc, agent_name, model
 limit 100;
