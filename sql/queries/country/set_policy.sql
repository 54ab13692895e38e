-- Overrides the policy of a country ($2) for a project ($1): what $3 names.
select set_country_policy($1, $2, $3)
