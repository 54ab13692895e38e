-- Work that has been on its way for over $1 seconds and that nobody holds, and the last thing that
-- went wrong with it, the oldest first, ten at most. What a registration holds is told with its
-- number. A text that waits for one to the same contact waits with it, and is not told of.
select 'turn' as "kind!: _", extract(epoch from now() - turn.created_at)::float8 as "seconds!", session.contact as "contact!",
       coalesce(turn.last_error, 'nobody has taken it') as "error!"
  from turn join session on session.id = turn.session_id
 where turn.created_at < now() - make_interval(secs => $1) and turn.due_at < now() + interval '1 hour'
   and (turn.leased_until is null or turn.leased_until < now())
union all
select 'delivery', extract(epoch from now() - delivery.created_at)::float8, delivery.contact,
       delivery.status || ': ' || coalesce(delivery.error_detail, 'nobody has taken it')
  from delivery
 where delivery.due_at < now() + interval '1 day' and delivery.created_at < now() - make_interval(secs => $1)
   and (delivery.leased_until is null or delivery.leased_until < now())
   and not exists (
       select from delivery earlier
        where earlier.number_id = delivery.number_id and earlier.contact = delivery.contact
          and earlier.due_at is not null and earlier.seq < delivery.seq)
 order by "seconds!" desc
 limit 10
