-- The upper bound of the bucket of a latency, which the bucket does not contain. Those up to 120 s
-- are those of the metric textback_text_to_reply_seconds (LONG in src/telemetry/metrics/table.rs).
create or replace function latency_bound(seconds double precision) returns double precision language sql immutable parallel safe
return (array[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 20, 30, 45, 60, 90, 120, 300, 600, 1800, 3600, 21600, 86400,
              'infinity']::double precision[])
       [1 + width_bucket(seconds, array[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 20, 30, 45, 60, 90, 120, 300, 600, 1800,
                                        3600, 21600, 86400]::double precision[])];
