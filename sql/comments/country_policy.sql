comment on table country_policy is 'What a project has set for a country instead of the values of sms_country.';
comment on column country_policy.project_id is 'Id of the project.';
comment on column country_policy.iso2 is 'The country (ISO 3166-1 alpha-2).';
comment on column country_policy.two_way is 'Whether texts work both ways; null: the value of sms_country counts.';
comment on column country_policy.registration_policy is 'Whether a number must be registered: required, advised, none or unknown; null: the value of sms_country counts.';
comment on column country_policy.note is 'Note of the operator.';
comment on column country_policy.changed_at is 'Time of the last change.';
