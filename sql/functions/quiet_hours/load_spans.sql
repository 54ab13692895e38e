-- The quiet hours of a time zone by its own clock, each from its first instant until the first one
-- after it, from the day before a moment until three days after it: domain/quiet_hours.rs. Null for
-- a zone that this database does not know, so that it does not keep a batch from being sent.
create or replace function load_quiet_spans(zone text, quiet_from time, quiet_until time, moment timestamptz) returns jsonb language plpgsql stable strict
set search_path = textback, pg_temp as $$
declare
    today date;
begin
    -- Not where it is declared: a failure there is not caught below.
    today := moment at time zone zone;
    return (
        select jsonb_agg(jsonb_build_object(
                   -- The clock shows an hour twice, or leaves one out, on two nights of a year.
                   -- Then quiet hours begin by the earliest reading; PostgreSQL takes the latest
                   -- one, which is right for their end.
                   'from', least(begins at time zone zone,
                                 (begins - interval '1 hour') at time zone zone + interval '1 hour',
                                 (begins + interval '1 hour') at time zone zone - interval '1 hour'),
                   'until', ends at time zone zone))
          from generate_series(-1, 3) as day
         cross join lateral (
               select today + day + quiet_from as begins,
                      today + day + (quiet_until <= quiet_from)::integer + quiet_until as ends) local_time);
exception when invalid_parameter_value then
    return null;
end $$;
