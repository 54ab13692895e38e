-- Opt-outs and opt-ins, without what was said.
create or replace view reporting.consents_v1 with (security_barrier) as
select consent.project_id, consent.id as consent_id, coalesce(number.number, consent.endpoint_id::text) as address,
       mask_contact(consent.contact) as contact_masked,
       contact_key((select inner_pad from reporting_key), (select outer_pad from reporting_key), consent.project_id, consent.contact)
           as contact_key,
       calling_code(consent.contact) as contact_calling_code, consent.kind, consent.source, consent.message_id,
       not exists (select from consent later
                    where later.endpoint_id = consent.endpoint_id and later.contact = consent.contact and later.seq > consent.seq)
           as is_current,
       consent.recorded_at
  from consent
  left join number on number.id = consent.endpoint_id
 where consent.project_id in (select project_id from reporting.projects_v1);

comment on view reporting.consents_v1 is 'One row for each opt-out and opt-in that was recorded. The newest of an endpoint and a contact counts.';
comment on column reporting.consents_v1.project_id is 'Id of the project.';
comment on column reporting.consents_v1.consent_id is 'Id of the record.';
comment on column reporting.consents_v1.address is 'The number of the project in E.164 or as a short code, or the id of another endpoint.';
comment on column reporting.consents_v1.contact_masked is 'The contact without its middle digits, such as +1415•••0101.';
comment on column reporting.consents_v1.contact_key is 'Keyed hash of the contact, 32 hexadecimal digits, the same in all views of a project.';
comment on column reporting.consents_v1.contact_calling_code is 'Country calling code of the contact without the plus. Null for a short code.';
comment on column reporting.consents_v1.kind is 'opted_out or opted_in.';
comment on column reporting.consents_v1.source is 'Who reported it: keyword (the contact), carrier (by an error) or operator.';
comment on column reporting.consents_v1.message_id is 'Id of the message with the keyword. Null: none.';
comment on column reporting.consents_v1.is_current is 'Whether it is the newest of its endpoint and contact, and so the one that counts.';
comment on column reporting.consents_v1.recorded_at is 'Time at which it was recorded.';
