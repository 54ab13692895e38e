-- What counts for texting in each country in a project ($1), by their codes, after one ($2), at
-- most $3.
select country.iso2, country.name, coalesce(rule.two_way, country.two_way) as two_way, rule.two_way is not null as "two_way_ruled!", country.two_way_long_code, country.number_types,
       coalesce(rule.registration_policy, country.registration_policy) as "registration_policy!: _", country.registration,
       country.registration_detail, country.sources, country.confidence as "confidence: _", country.as_of, rule.note as "note?", rule.changed_at as "changed_at?"
  from sms_country country
  left join country_policy rule on rule.iso2 = country.iso2 and rule.project_id = $1
 where $2::text is null or country.iso2 > $2
 order by country.iso2
 limit $3
