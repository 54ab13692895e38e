-- Sessions. A count of messages is a subquery for each row, so it costs nothing in a query that
-- does not use it.
create or replace view reporting.sessions_v1 with (security_barrier) as
select session.project_id, session.id as session_id, session.channel::text as channel, session.origin::text as origin,
       session.status::text as status, session.close_reason::text as end_reason,
       case when session.origin = 'outbound' and not session.engaged then 'outbound_without_reply'
            else opening_case(session.origin, previous.id, previous.close_reason) end as session_case,
       session.engaged as is_engaged, coalesce(number.number, session.endpoint_id::text) as address,
       mask_contact(session.contact) as contact_masked,
       contact_key((select inner_pad from reporting_key), (select outer_pad from reporting_key), session.project_id, session.contact)
           as contact_key,
       calling_code(session.contact) as contact_calling_code,
       session.agent_id, agent.name as agent_name, session.agent_version, session.language, session.previous_session_id,
       session.opened_at, session.last_message_at, session.closed_at,
       extract(epoch from session.closed_at - session.opened_at)::double precision as duration_seconds,
       (select count(*) from message where message.session_id = session.id and message.direction = 'inbound') as inbound_messages,
       (select count(*) from message where message.session_id = session.id and message.direction = 'outbound') as outbound_messages,
       (select greatest(count(*) - 1, 0) from message where message.session_id = session.id and message.direction = 'inbound')
           as continued_messages,
       session.environment::text as environment
  from session
  left join session previous on previous.id = session.previous_session_id
  left join number on number.id = session.endpoint_id
  left join agent on agent.id = session.agent_id
 where session.project_id in (select project_id from reporting.projects_v1);

comment on view reporting.sessions_v1 is 'One row for each session. Filter on opened_at to read few rows.';
comment on column reporting.sessions_v1.project_id is 'Id of the project of the session.';
comment on column reporting.sessions_v1.session_id is 'Id of the session.';
comment on column reporting.sessions_v1.channel is 'Channel of the session, by the word that the API has for it.';
comment on column reporting.sessions_v1.origin is 'Who opened the session: inbound (the contact) or outbound (a message of the project or of an agent).';
comment on column reporting.sessions_v1.status is 'open, warned (the contact was told that the session will end) or closed.';
comment on column reporting.sessions_v1.end_reason is 'Why the session ended: agent_ended, operator_ended, timed_out, opted_out, superseded (by an outbound message) or unreadable. Null: it has not ended.';
comment on column reporting.sessions_v1.session_case is 'How the session began: new (first session of the contact), after_timeout (the session before it timed out), after_end (the session before it ended otherwise), reply_to_outbound (opened by an outbound message and answered by the contact) or outbound_without_reply. The case that a message continues a session is in continued_messages and in messages_v1.session_case.';
comment on column reporting.sessions_v1.is_engaged is 'Whether the contact sent a message that was to be answered. Only then can the session time out.';
comment on column reporting.sessions_v1.address is 'The number of the project in E.164 or as a short code, or the id of another endpoint.';
comment on column reporting.sessions_v1.contact_masked is 'The contact without its middle digits, such as +1415•••0101.';
comment on column reporting.sessions_v1.contact_key is 'Keyed hash of the contact, 32 hexadecimal digits. The same contact has the same hash in all views of its project, and another one in another project.';
comment on column reporting.sessions_v1.contact_calling_code is 'Country calling code of the contact without the plus, such as 1 or 44. Null for a short code.';
comment on column reporting.sessions_v1.agent_id is 'Id of the agent that answers the session.';
comment on column reporting.sessions_v1.agent_name is 'Name of the agent.';
comment on column reporting.sessions_v1.agent_version is 'Number of the version of the agent that the session keeps.';
comment on column reporting.sessions_v1.language is 'Language that the agent set. Null: none.';
comment on column reporting.sessions_v1.previous_session_id is 'Id of the session before this one of the same endpoint and contact. Null: none.';
comment on column reporting.sessions_v1.opened_at is 'Time at which the session was opened.';
comment on column reporting.sessions_v1.last_message_at is 'Time of the last message of either side that counts as activity.';
comment on column reporting.sessions_v1.closed_at is 'Time at which the session ended. Null: it has not ended.';
comment on column reporting.sessions_v1.duration_seconds is 'Seconds from opened_at to closed_at. Null: it has not ended.';
comment on column reporting.sessions_v1.inbound_messages is 'Count of messages of the contact, with keywords and those that got no answer. It is counted for each row that is read.';
comment on column reporting.sessions_v1.outbound_messages is 'Count of messages to the contact. It is counted for each row that is read.';
comment on column reporting.sessions_v1.continued_messages is 'Count of messages of the contact after its first one in the session: those that continued an active session. It is counted for each row that is read.';
comment on column reporting.sessions_v1.environment is 'Environment of the agent that the number had when the session was opened: sandbox or live.';
