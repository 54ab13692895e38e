-- What carriers charge for.
create or replace view reporting.segments_v1 with (security_barrier) as
select message.project_id, message.id as message_id, message.session_id, session.channel::text as channel,
       message.direction::text as direction, message.kind::text as kind, number.number as address, number.country as number_country,
       calling_code(session.contact) as contact_calling_code, message.encoding::text as encoding, message.segments,
       delivery.status::text as delivery_status,
       is_at_the_carrier(message.direction, delivery.status, delivery.accepted_at) as is_at_the_carrier,
       message.created_at
  from message
  join session on session.id = message.session_id
  left join number on number.id = session.endpoint_id
  left join delivery on delivery.id = message.id
 where message.segments is not null and message.project_id in (select project_id from reporting.projects_v1);

comment on view reporting.segments_v1 is 'One row for each message with segments, the unit in which carriers charge. There are no prices: the carrier tells none to textback. Filter on created_at to read few rows.';
comment on column reporting.segments_v1.project_id is 'Id of the project of the message.';
comment on column reporting.segments_v1.message_id is 'Id of the message.';
comment on column reporting.segments_v1.session_id is 'Id of the session of the message.';
comment on column reporting.segments_v1.channel is 'Channel of the session, by the word that the API has for it. Only text messages have segments.';
comment on column reporting.segments_v1.direction is 'inbound (from the contact) or outbound (to the contact). Carriers charge for both.';
comment on column reporting.segments_v1.kind is 'Kind of the message: see messages_v1.kind.';
comment on column reporting.segments_v1.address is 'The number of the project in E.164 or as a short code.';
comment on column reporting.segments_v1.number_country is 'Country of that number (ISO 3166-1 alpha-2). Null: its digits don''t tell.';
comment on column reporting.segments_v1.contact_calling_code is 'Country calling code of the contact without the plus: prices depend on the country of the contact. Null for a short code.';
comment on column reporting.segments_v1.encoding is 'gsm7 (160 characters in one segment) or ucs2 (70).';
comment on column reporting.segments_v1.segments is 'Count of segments of the message.';
comment on column reporting.segments_v1.delivery_status is 'Outbound: status of the delivery: see deliveries_v1.status. Null: inbound.';
comment on column reporting.segments_v1.is_at_the_carrier is 'Whether the carrier had the message, so that it may charge for it. False: it was not sent, or that is not known yet.';
comment on column reporting.segments_v1.created_at is 'Time at which the message was stored.';
