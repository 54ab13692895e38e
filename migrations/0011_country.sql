-- Countries, and the policies of projects for them.

-- Whether SMS works in both directions in a country, and which registration it requires. `migrate`
-- loads the rows from sql/data/countries.csv.
create table sms_country (
    iso2                text    not null constraint sms_country_pk primary key
                                         constraint sms_country_is_iso_3166 check (iso2 ~ '^[A-Z]{2}$'),
    name                text    not null,
    two_way             boolean,
    two_way_long_code   boolean,
    number_types        text[]  not null,
    registration_policy text    not null constraint registration_policy_is_known
                                         check (registration_policy in ('required', 'advised', 'none', 'unknown')),
    registration        text    not null,
    registration_detail text,
    sources             text[]  not null,
    confidence          text    constraint confidence_is_known check (confidence in ('high', 'medium', 'low')),
    as_of               date
);

-- What a project overrides for a country. If a column is null, the value of sms_country counts.
create table country_policy (
    project_id          uuid        not null constraint country_policy_belongs_to_a_project references project (id),
    iso2                text        not null constraint country_policy_is_about_a_country references sms_country (iso2),
    two_way             boolean,
    registration_policy text        constraint own_registration_policy_is_known
                                    check (registration_policy in ('required', 'advised', 'none', 'unknown')),
    note                text        constraint country_note_has_at_most_1000_characters check (length(note) <= 1000),
    changed_at          timestamptz not null default now(),
    constraint country_policy_pk primary key (project_id, iso2)
);
