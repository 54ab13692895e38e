-- Claims numbers whose inbound texts are to be read back ($1 at most); the next time is $2 seconds from now. No lease:
-- reading twice does no harm, since a text is recorded once.
with due as (
    select id from number
     where detached_at is null and read_back_at <= now()
     order by read_back_at
     limit $1
       for update skip locked
)
update number set read_back_at = now() + make_interval(secs => $2)
  from due
 where number.id = due.id
returning number.id, number.project_id, number.number, number.created_at as attached_at, number.heard_until
