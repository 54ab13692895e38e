-- The rows of session_rollup from one hour to another, as the sessions are now. Seconds are added
-- up as numeric, because a sum of floats depends on the order of the rows.
create or replace function sessions_of_hours(since timestamptz, until timestamptz) returns setof session_rollup language sql stable
begin atomic
    select event.project_id, event.hour, event.endpoint_id, event.agent_id, event.channel::text, event.agent_version, event.origin::text,
           case when event.origin = 'outbound' and not event.engaged then 'outbound_without_reply'
                else opening_case(event.origin, previous.id, previous.close_reason) end,
           event.end_reason, count(*) filter (where event.end_reason = ''), count(*) filter (where event.end_reason <> ''),
           coalesce(sum(event.seconds::numeric), 0)::double precision
      from (select session.*, hour_of(session.opened_at) as hour, '' as end_reason, null::double precision as seconds
              from session
             where session.opened_at >= since and session.opened_at < until
            union all
            select session.*, hour_of(session.closed_at), session.close_reason::text,
                   extract(epoch from session.closed_at - session.opened_at)::double precision
              from session
             where session.closed_at >= since and session.closed_at < until) event
      left join session previous on previous.id = event.previous_session_id
     group by 1, 2, 3, 4, 5, 6, 7, 8, 9;
end;
