-- Writes a project's ($1) own rule for a country ($2): what $3 names.
select rule_country($1, $2, $3)
