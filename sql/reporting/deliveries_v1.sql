-- Deliveries. The details of their errors are left out, because a carrier may name the contact in
-- them.
create or replace view reporting.deliveries_v1 with (security_barrier) as
select delivery.project_id, delivery.id as delivery_id, delivery.session_id, message.kind::text as kind,
       number.number as address, number.country as number_country,
       mask_contact(delivery.contact) as contact_masked,
       contact_key((select inner_pad from reporting_key), (select outer_pad from reporting_key), delivery.project_id, delivery.contact)
           as contact_key,
       calling_code(delivery.contact) as contact_calling_code,
       delivery.status::text as status, delivery.attempts, delivery.error_code, delivery.error_class,
       delivery.created_at, delivery.accepted_at,
       case when delivery.status = 'delivered' then delivery.updated_at end as delivered_at, delivery.updated_at,
       extract(epoch from delivery.accepted_at - delivery.created_at)::double precision as accepted_seconds,
       case when delivery.status = 'delivered' then extract(epoch from delivery.updated_at - delivery.created_at)::double precision end
           as delivered_seconds
  from delivery
  left join message on message.id = delivery.id
  left join number on number.id = delivery.number_id
 where delivery.project_id in (select project_id from reporting.projects_v1);

comment on view reporting.deliveries_v1 is 'One row for each delivery of an outbound message. Filter on created_at to read few rows.';
comment on column reporting.deliveries_v1.project_id is 'Id of the project of the delivery.';
comment on column reporting.deliveries_v1.delivery_id is 'Id of the delivery, which is the id of its message.';
comment on column reporting.deliveries_v1.session_id is 'Id of the session of the message.';
comment on column reporting.deliveries_v1.kind is 'Kind of the message: text, greeting, reply, error, warning, closing, help, opt_out or opt_in.';
comment on column reporting.deliveries_v1.address is 'The number that sends, in E.164 or as a short code.';
comment on column reporting.deliveries_v1.number_country is 'Country of that number (ISO 3166-1 alpha-2). Null: its digits don''t tell.';
comment on column reporting.deliveries_v1.contact_masked is 'The contact without its middle digits, such as +1415•••0101.';
comment on column reporting.deliveries_v1.contact_key is 'Keyed hash of the contact, 32 hexadecimal digits, the same in all views of a project.';
comment on column reporting.deliveries_v1.contact_calling_code is 'Country calling code of the contact without the plus. Null for a short code.';
comment on column reporting.deliveries_v1.status is 'planned, sending, accepted (by the carrier), sent, delivered, failed, unknown (nobody knows yet whether the carrier has it) or suppressed (never sent).';
comment on column reporting.deliveries_v1.attempts is 'Count of calls of the carrier.';
comment on column reporting.deliveries_v1.error_code is 'Error code of the carrier. Null: none.';
comment on column reporting.deliveries_v1.error_class is 'What the error means, by textback: opted_out, landline, unreachable and others. Null: none.';
comment on column reporting.deliveries_v1.created_at is 'Time at which the message was stored.';
comment on column reporting.deliveries_v1.accepted_at is 'Time at which the carrier accepted the message. Null: it has not.';
comment on column reporting.deliveries_v1.delivered_at is 'Time at which the carrier told that it was delivered. Null: it has not.';
comment on column reporting.deliveries_v1.updated_at is 'Time of the last step.';
comment on column reporting.deliveries_v1.accepted_seconds is 'Seconds from created_at to accepted_at.';
comment on column reporting.deliveries_v1.delivered_seconds is 'Seconds from created_at to delivered_at. Null: it was not delivered yet.';
