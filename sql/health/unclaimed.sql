-- Kinds of work of which something has been due for over $1 seconds while nobody holds any of it: how many are due, and for how long the
-- oldest has been.
select kind, due, seconds
  from (select 'turn' as kind, count(*) as due, extract(epoch from now() - min(due_at))::float8 as seconds
          from turn where due_at <= now()
        having not exists (select from turn where leased_until >= now())
        union all
        select 'delivery', count(*), extract(epoch from now() - min(due_at))::float8
          from delivery where due_at <= now()
        having not exists (select from delivery where due_at is not null and leased_until >= now())) waiting
 where seconds > $1
