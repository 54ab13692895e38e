-- The quiet hours of time zones ($1), or of zones that stand in where the database does not know
-- one ($2), from the times $3 until the times $4. Null where it knows neither.
select coalesce(load_quiet_spans(wanted.zone, wanted.quiet_from, wanted.quiet_until, now()),
                load_quiet_spans(wanted.older, wanted.quiet_from, wanted.quiet_until, now())) as "spans: _"
  from unnest($1::text[], $2::text[], $3::time[], $4::time[]) with ordinality as wanted (zone, older, quiet_from, quiet_until, ordinal)
 order by wanted.ordinal
