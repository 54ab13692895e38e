-- The hour of a time, in UTC: also where zones differ from UTC by a part of an hour, and where
-- clocks are set for summer.
create or replace function hour_of(at timestamptz) returns timestamptz language sql immutable parallel safe
return date_bin(interval '1 hour', at, timestamptz '2000-01-01 00:00:00+00');
