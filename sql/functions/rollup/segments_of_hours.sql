-- The rows of segment_rollup from one hour to another, as messages and deliveries are now.
create or replace function segments_of_hours(since timestamptz, until timestamptz) returns setof segment_rollup language sql stable
begin atomic
    select message.project_id, hour_of(message.created_at), session.endpoint_id, session.agent_id, session.channel::text,
           coalesce(calling_code(session.contact), ''), message.direction::text, message.encoding::text,
           coalesce(is_at_the_carrier(message.direction, delivery.status, delivery.accepted_at), false),
           count(*), sum(message.segments)::bigint
      from message
      join session on session.id = message.session_id
      left join delivery on delivery.id = message.id
     where message.created_at >= since and message.created_at < until and message.segments is not null
     group by 1, 2, 3, 4, 5, 6, 7, 8, 9;
end;
