-- The environments of an agent ($2) of a project ($1), with their activations, newest first, at
-- most twenty of each.
select active.environment as "environment!: _", active.version as "version!",
       (select coalesce(jsonb_agg(newest order by newest.seq desc), '[]')
          from (select activation.seq, activation.version, activation.activated_at, activation.rolled_back_at
                  from activation
                 where activation.agent_id = active.agent_id and activation.environment = active.environment
                 order by activation.seq desc
                 limit 20) newest) as "activations!: _"
  from agent join active_version active on active.agent_id = agent.id
 where agent.project_id = $1 and agent.id = $2
 order by active.environment
