-- The samples: what was counted, how long ago, and whether they are due again.
select name as "name: _", counts as "counts: _", extract(epoch from now() - sampled_at)::float8 as age_seconds,
       next_at <= now() as "is_due!"
  from metric_sample
