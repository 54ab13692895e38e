-- The numbers that the deliveries $1 leave from, each with the carrier's code ($2) of one of them.
select distinct on (delivery.number_id) delivery.number_id as id, blocked.code as "code?"
  from unnest($1::uuid[], $2::integer[]) as blocked (id, code)
  join delivery on delivery.id = blocked.id
 order by delivery.number_id
