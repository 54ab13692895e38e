-- Writes the rows of sql/data/time_zones.csv ($1, a JSON array) that are new or differ, and deletes prefixes that the file no
-- longer has, because the longest prefix of a number counts. Rows that don't differ are not locked.
with given as (
    select prefix, string_to_array(zones, ';') as zones from jsonb_to_recordset($1) as zone (prefix text, zones text)
), deleted as (
    delete from time_zone_of_prefix where prefix <> all (array(select prefix from given))
)
insert into time_zone_of_prefix (prefix, zones)
select prefix, zones from given
 where not exists (
           select from time_zone_of_prefix known where known.prefix = given.prefix and known.zones is not distinct from given.zones)
on conflict on constraint time_zone_of_prefix_pk do update set zones = excluded.zones
