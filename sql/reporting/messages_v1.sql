-- Messages without their texts.
create or replace view reporting.messages_v1 with (security_barrier) as
select message.project_id, message.id as message_id, message.session_id, message.turn_id, session.channel::text as channel,
       message.direction::text as direction, message.kind::text as kind,
       message_status(message.skip_reason, message.seq, session.handled_seq, delivery.status) as status,
       message.skip_reason::text as skip_reason,
       case when message.direction = 'outbound' then null
            when exists (select from message earlier
                          where earlier.session_id = message.session_id and earlier.seq < message.seq
                            and earlier.direction = 'inbound') then 'continued'
            else opening_case(session.origin, previous.id, previous.close_reason) end as session_case,
       coalesce(number.number, session.endpoint_id::text) as address,
       mask_contact(session.contact) as contact_masked,
       contact_key((select inner_pad from reporting_key), (select outer_pad from reporting_key), session.project_id, session.contact)
           as contact_key,
       calling_code(session.contact) as contact_calling_code,
       message.encoding::text as encoding, message.segments, length(message.body) as characters,
       coalesce(message.truncated, 0) as cut_characters,
       (select count(*) from attachment where attachment.message_id = message.id) as attachments,
       message.created_at
  from message
  join session on session.id = message.session_id
  left join session previous on previous.id = session.previous_session_id
  left join delivery on delivery.id = message.id
  left join number on number.id = session.endpoint_id
 where message.project_id in (select project_id from reporting.projects_v1);

comment on view reporting.messages_v1 is 'One row for each message, without its text. Filter on created_at to read few rows.';
comment on column reporting.messages_v1.project_id is 'Id of the project of the message.';
comment on column reporting.messages_v1.message_id is 'Id of the message. The delivery of an outbound message has the same id.';
comment on column reporting.messages_v1.session_id is 'Id of the session of the message.';
comment on column reporting.messages_v1.turn_id is 'Id of the turn that made the message. Null: it is inbound, or no turn made it.';
comment on column reporting.messages_v1.channel is 'Channel of the session, by the word that the API has for it.';
comment on column reporting.messages_v1.direction is 'inbound (from the contact) or outbound (to the contact).';
comment on column reporting.messages_v1.kind is 'text, keyword, greeting, reply, error, warning, closing, help, opt_out, opt_in or reaction.';
comment on column reporting.messages_v1.status is 'Inbound: waiting, handled, held (by a rate limit) or skipped. Outbound: the status of its delivery (see deliveries_v1), or handled on a channel without deliveries.';
comment on column reporting.messages_v1.skip_reason is 'Inbound: why the message gets no answer. Null: it gets one.';
comment on column reporting.messages_v1.session_case is 'Inbound: what the message did. It opened a session as new (first session of the contact), after_timeout or after_end, it was the first reply_to_outbound, or it continued a session. Null: outbound.';
comment on column reporting.messages_v1.address is 'The number of the project in E.164 or as a short code, or the id of another endpoint.';
comment on column reporting.messages_v1.contact_masked is 'The contact without its middle digits, such as +1415•••0101.';
comment on column reporting.messages_v1.contact_key is 'Keyed hash of the contact, 32 hexadecimal digits, the same in all views of a project.';
comment on column reporting.messages_v1.contact_calling_code is 'Country calling code of the contact without the plus. Null for a short code.';
comment on column reporting.messages_v1.encoding is 'gsm7 or ucs2. Null on a channel without segments.';
comment on column reporting.messages_v1.segments is 'Count of segments, the unit in which carriers charge. Null on a channel without segments.';
comment on column reporting.messages_v1.characters is 'Length of the text in characters.';
comment on column reporting.messages_v1.cut_characters is 'Count of characters that were cut because the message, or its turn, was over a limit of its agent.';
comment on column reporting.messages_v1.attachments is 'Count of pictures and other files of the message. It is counted for each row that is read.';
comment on column reporting.messages_v1.created_at is 'Time at which the message was stored.';
