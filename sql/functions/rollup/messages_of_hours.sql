-- The rows of message_rollup from one hour to another, as the messages are now.
create or replace function messages_of_hours(since timestamptz, until timestamptz) returns setof message_rollup language sql stable
begin atomic
    select message.project_id, hour_of(message.created_at), session.endpoint_id, session.agent_id, session.channel::text,
           message.direction::text, message.kind::text, coalesce(message.skip_reason::text, ''),
           case when message.direction = 'outbound' then ''
                when exists (select from message earlier
                              where earlier.session_id = message.session_id and earlier.seq < message.seq
                                and earlier.direction = 'inbound') then 'continued'
                else opening_case(session.origin, previous.id, previous.close_reason) end,
           count(*), coalesce(sum(message.segments), 0)::bigint
      from message
      join session on session.id = message.session_id
      left join session previous on previous.id = session.previous_session_id
     where message.created_at >= since and message.created_at < until
     group by 1, 2, 3, 4, 5, 6, 7, 8, 9;
end;
