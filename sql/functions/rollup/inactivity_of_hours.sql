-- The rows of inactivity_rollup from one hour to another, as warnings and sessions are now. A
-- warning counts in its own hour, and the end of a session that had none in the hour of that end.
create or replace function inactivity_of_hours(since timestamptz, until timestamptz) returns setof inactivity_rollup language sql stable
begin atomic
    select inactivity.project_id, inactivity.hour, inactivity.endpoint_id, inactivity.agent_id, inactivity.channel,
           count(inactivity.outcome), count(*) filter (where inactivity.outcome = 'rescued'),
           count(*) filter (where inactivity.outcome = 'ended'), count(*) filter (where inactivity.outcome = 'ended_otherwise'),
           count(*) filter (where inactivity.outcome = 'waiting'), count(*) filter (where inactivity.outcome is null)
      from (select session.project_id, hour_of(warning.created_at) as hour, session.endpoint_id, session.agent_id,
                   session.channel::text as channel,
                   warning_outcome(exists (select from message rescue
                                            where rescue.session_id = warning.session_id and rescue.seq > warning.seq
                                              and resets_inactivity(rescue.kind, rescue.skip_reason)),
                                   session.close_reason) as outcome
              from message warning
              join session on session.id = warning.session_id
             where warning.kind = 'warning' and warning.created_at >= since and warning.created_at < until
            union all
            select session.project_id, hour_of(session.closed_at), session.endpoint_id, session.agent_id, session.channel::text, null
              from session
             where session.closed_at >= since and session.closed_at < until
               and session.close_reason = 'timed_out' and session.warned_at is null) inactivity
     group by 1, 2, 3, 4, 5;
end;
