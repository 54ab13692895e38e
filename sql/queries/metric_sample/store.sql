-- Stores the sample $1, which is due again after $3 seconds.
update metric_sample
   set counts = $2, sampled_at = now(), next_at = now() + make_interval(secs => $3)
 where name = $1
