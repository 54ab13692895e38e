-- Lets this process take the sample $1, if it is due and no other process takes it. If the process
-- ends meanwhile, another one may take it after $2 seconds. Returns a row if it may.
insert into metric_sample (name, next_at) values ($1, now() + make_interval(secs => $2))
    on conflict (name) do update set next_at = excluded.next_at
 where metric_sample.next_at <= now()
returning name
