-- What is known of texting in a country ($1).
select iso2, name, two_way, sources, as_of from sms_country where iso2 = $1
