-- The rows of delivery_rollup from one hour to another, as the deliveries are now that were created
-- in these hours.
create or replace function deliveries_of_hours(since timestamptz, until timestamptz) returns setof delivery_rollup language sql stable
begin atomic
    select delivery.project_id, hour_of(delivery.created_at), delivery.number_id, session.agent_id, session.channel::text,
           coalesce(calling_code(delivery.contact), ''), delivery.status::text, coalesce(delivery.error_code, 0),
           coalesce(delivery.error_class, ''), count(*), sum(delivery.attempts)::bigint, coalesce(sum(message.segments), 0)::bigint
      from delivery
      join session on session.id = delivery.session_id
      left join message on message.id = delivery.id
     where delivery.created_at >= since and delivery.created_at < until
     group by 1, 2, 3, 4, 5, 6, 7, 8, 9;
end;
