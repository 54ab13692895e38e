-- Agents and their versions
-- What each version of each agent did: sessions, turns, failures, and how long turns took.
-- chart: table
-- agent_name (text): Name of the agent.
-- agent_version (text): Number of the version.
-- sessions (count): Sessions that were opened with it.
-- turns (count): Turns that it took.
-- failed_share (share): Turns that were given up, of all.
-- retries (count): Attempts beyond the first ones.
-- p95_seconds (seconds): 95 of 100 turns took less. Empty: over a day.

select agent_name, agent_version::text as agent_version, sum(sessions)::bigint as sessions, sum(turns)::bigint as turns,
       (sum(failed) / nullif(sum(turns), 0))::double precision as failed_share, sum(retries)::bigint as retries,
       max(p95) as p95_seconds
  from (select agent_name, agent_version, opened as sessions, 0 as turns, 0 as failed, 0 as retries, null::double precision as p95
          from reporting.sessions_by_hour_v1
         where hour >= date_trunc('hour', $1::timestamptz) and hour < $2::timestamptz
        union all
        select agent_name, agent_version, 0, turns, case outcome when 'failed' then turns else 0 end, attempts - turns, null
          from reporting.turns_by_hour_v1
         where hour >= date_trunc('hour', $1::timestamptz) and hour < $2::timestamptz
        union all
        select agent_name, agent_version, 0, 0, 0, 0, min(below_seconds) filter (where so_far >= 0.95 * total)
          from (select agent_name, agent_version, below_seconds,
                       sum(sum(observations)) over (partition by agent_name, agent_version order by below_seconds) as so_far,
                       sum(sum(observations)) over (partition by agent_name, agent_version) as total
                  from reporting.latencies_by_hour_v1
                 where measure = 'turn' and hour >= date_trunc('hour', $1::timestamptz) and hour < $2::timestamptz
                 group by 1, 2, 3) bucket
         group by 1, 2) part
 group by agent_name, agent_version
having sum(sessions) > 0 or sum(turns) > 0
 order by turns desc, agent_name, part.agent_version desc
 limit 100;
