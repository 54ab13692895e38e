-- The consent of contacts.

-- The opt-outs and opt-ins of contacts, as contacts, the carrier and operators report them. The
-- table is append-only, and the newest row of an endpoint and a contact counts.
create table consent (
    id          uuid        not null constraint consent_pk primary key,
    seq         bigint      not null generated always as identity,
    project_id  uuid        not null constraint consent_belongs_to_a_project references project (id),
    endpoint_id uuid        not null constraint consent_is_given_to_an_endpoint references endpoint (id),
    contact     text        not null,
    kind        text        not null constraint consent_kind_is_known check (kind in ('opted_out', 'opted_in')),
    source      text        not null constraint consent_source_is_known check (source in ('keyword', 'carrier', 'operator')),
    said        text        constraint what_was_said_fits_a_text check (length(said) <= 1600),
    message_id  uuid,
    recorded_at timestamptz not null
);

create index consent_newest_of_a_contact on consent (endpoint_id, contact, seq);
create index consent_newest_of_a_project on consent (project_id, id);
