-- Writes the rows of sql/data/countries.csv ($1, a JSON array) that are new or differ. Rows of
-- country_policy stay. Rows that don't differ are not locked.
with given as (
    select iso2, name, two_way, two_way_long_code, coalesce(string_to_array(number_types, ';'), '{}') as number_types, registration_policy,
           registration, registration_detail, coalesce(string_to_array(sources, ';'), '{}') as sources, confidence, as_of
      from jsonb_to_recordset($1) as country (
           iso2 text, name text, two_way boolean, two_way_long_code boolean, number_types text, registration_policy text,
           registration text, registration_detail text, sources text, confidence text, as_of date)
)
insert into sms_country (iso2, name, two_way, two_way_long_code, number_types, registration_policy, registration, registration_detail,
                         sources, confidence, as_of)
select * from given
 where not exists (
           select from sms_country known
            where known.iso2 = given.iso2
              and (known.name, known.two_way, known.two_way_long_code, known.number_types, known.registration_policy,
                   known.registration, known.registration_detail, known.sources, known.confidence, known.as_of)
                  is not distinct from
                  (given.name, given.two_way, given.two_way_long_code, given.number_types, given.registration_policy,
                   given.registration, given.registration_detail, given.sources, given.confidence, given.as_of))
on conflict on constraint sms_country_pk do update
   set name = excluded.name, two_way = excluded.two_way, two_way_long_code = excluded.two_way_long_code,
       number_types = excluded.number_types, registration_policy = excluded.registration_policy,
       registration = excluded.registration, registration_detail = excluded.registration_detail, sources = excluded.sources,
       confidence = excluded.confidence, as_of = excluded.as_of
