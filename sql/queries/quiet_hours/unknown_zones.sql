-- The time zones of $1 that this database does not know, nor the zone of $2 that stands in for one.
select wanted.zone as "zone!" from unnest($1::text[], $2::text[]) as wanted (zone, older)
 where not exists (select from pg_timezone_names where name in (wanted.zone, wanted.older))
 order by wanted.zone
