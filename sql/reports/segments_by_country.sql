-- What carriers charge for
-- How many segments the carrier had by number and country. Carriers tell no prices: multiply by those of your contract.
-- chart: table
-- address (text): The number of the project.
-- number_country (text): Country of that number (ISO 3166-1).
-- contact_calling_code (text): Calling code of the contact, on which prices depend.
-- messages (count): Messages.
-- segments_out (count): Segments to contacts.
-- segments_in (count): Segments of contacts.

select address, number_country::text as number_country, contact_calling_code, sum(messages)::bigint as messages,
       coalesce(sum(segments) filter (where direction = 'outbound'), 0)::bigint as segments_out,
       coalesce(sum(segments) filter (where direction = 'inbound'), 0)::bigint as segments_in
  from reporting.segments_by_hour_v1
 where is_at_the_carrier and hour >= date_trunc('hour', $1::timestamptz) and hour < $2::timestamptz
 group by 1, 2, 3
 order by segments_out desc, segments_in desc, 1, 3
 limit 100;
