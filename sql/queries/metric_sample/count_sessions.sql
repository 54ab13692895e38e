-- How many sessions are not closed, by channel and status. At most $1 are counted.
select channel as "channel!: _", status as "status!: _", count(*) as "sessions!"
  from (select channel, status from session where status <> 'closed' limit $1) not_closed
 group by channel, status
