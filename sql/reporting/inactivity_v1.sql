-- Inactivity that led to a warning or an end. A session that timed out without a warning, on a
-- channel without warnings, has a row of its own.
create or replace view reporting.inactivity_v1 with (security_barrier) as
select session.project_id, session.id as session_id, warning.id as warning_message_id, session.channel::text as channel,
       coalesce(number.number, session.endpoint_id::text) as address,
       mask_contact(session.contact) as contact_masked,
       contact_key((select inner_pad from reporting_key), (select outer_pad from reporting_key), session.project_id, session.contact)
           as contact_key,
       session.agent_id, warning.inactivity_seconds, warning.created_at as warned_at,
       extract(epoch from warning.created_at - before.created_at)::double precision - warning.inactivity_seconds as warning_late_seconds,
       delivery.status::text as warning_status, delivery.accepted_at as warning_accepted_at,
       warning_outcome(rescue.created_at is not null, session.close_reason) as outcome,
       rescue.created_at as rescued_at, rescue.direction::text as rescued_by,
       extract(epoch from rescue.created_at - warning.created_at)::double precision as rescued_seconds,
       case when rescue.created_at is null then session.closed_at end as ended_at,
       case when rescue.created_at is null then extract(epoch from session.closed_at - session.end_was_due_at)::double precision end
           as end_late_seconds
  from message warning
  join session on session.id = warning.session_id
  left join number on number.id = session.endpoint_id
  left join delivery on delivery.id = warning.id
  left join lateral (
       select message.created_at from message
        where message.session_id = warning.session_id and message.seq < warning.seq
          and resets_inactivity(message.kind, message.skip_reason)
        order by message.seq desc limit 1) before on true
  left join lateral (
       select message.created_at, message.direction from message
        where message.session_id = warning.session_id and message.seq > warning.seq
          and resets_inactivity(message.kind, message.skip_reason)
        order by message.seq limit 1) rescue on true
 where warning.kind = 'warning' and warning.project_id in (select project_id from reporting.projects_v1)
union all
select session.project_id, session.id, null, session.channel::text, coalesce(number.number, session.endpoint_id::text),
       mask_contact(session.contact),
       contact_key((select inner_pad from reporting_key), (select outer_pad from reporting_key), session.project_id, session.contact),
       session.agent_id, session.warn_after_seconds, null, null, null, null, 'ended', null, null, null, session.closed_at,
       extract(epoch from session.closed_at - session.end_was_due_at)::double precision
  from session
  left join number on number.id = session.endpoint_id
 where session.close_reason = 'timed_out' and session.warned_at is null
   and session.project_id in (select project_id from reporting.projects_v1);

comment on view reporting.inactivity_v1 is 'One row for each inactivity that led to a warning, or to the end of a session without a warning. Filter on warned_at to read few rows.';
comment on column reporting.inactivity_v1.project_id is 'Id of the project of the session.';
comment on column reporting.inactivity_v1.session_id is 'Id of the session.';
comment on column reporting.inactivity_v1.warning_message_id is 'Id of the message that warned the contact. Null: the channel has no warnings.';
comment on column reporting.inactivity_v1.channel is 'Channel of the session, by the word that the API has for it.';
comment on column reporting.inactivity_v1.address is 'The number of the project in E.164 or as a short code, or the id of another endpoint.';
comment on column reporting.inactivity_v1.contact_masked is 'The contact without its middle digits, such as +1415•••0101.';
comment on column reporting.inactivity_v1.contact_key is 'Keyed hash of the contact, 32 hexadecimal digits, the same in all views of a project.';
comment on column reporting.inactivity_v1.agent_id is 'Id of the agent of the session.';
comment on column reporting.inactivity_v1.inactivity_seconds is 'Seconds without a message after which the contact is warned, or the session ends, by the agent''s settings.';
comment on column reporting.inactivity_v1.warned_at is 'Time at which the warning was stored. Null: the channel has no warnings.';
comment on column reporting.inactivity_v1.warning_late_seconds is 'Seconds from the time at which the warning was due to warned_at. Quiet hours, and an answer that was still due, count as lateness.';
comment on column reporting.inactivity_v1.warning_status is 'Status of the delivery of the warning: see deliveries_v1.status.';
comment on column reporting.inactivity_v1.warning_accepted_at is 'Time at which the carrier accepted the warning. The grace begins then. Null: it has not.';
comment on column reporting.inactivity_v1.outcome is 'rescued (a message within the grace kept the session open), ended (timed out), ended_otherwise (the session ended during the grace for another reason) or waiting (the grace is not over).';
comment on column reporting.inactivity_v1.rescued_at is 'Time of the message that kept the session open. Null: none.';
comment on column reporting.inactivity_v1.rescued_by is 'Direction of that message: inbound (the contact) or outbound (the project).';
comment on column reporting.inactivity_v1.rescued_seconds is 'Seconds from warned_at to rescued_at.';
comment on column reporting.inactivity_v1.ended_at is 'Time at which the session ended. Null: it did not end by this inactivity, or has not yet.';
comment on column reporting.inactivity_v1.end_late_seconds is 'Seconds from the time at which the session was due to end to ended_at. Null: it did not time out.';
