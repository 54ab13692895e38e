-- Claims the rollups for $2 seconds under the token $1, if they are due and no other worker holds
-- them. A worker that counts holds the row's lock, also when its lease has ended.
update rollup_progress
   set lease_token = $1, leased_until = now() + make_interval(secs => $2)
  from (select is_the_row from rollup_progress
         where due_at <= now() and (leased_until is null or leased_until < now())
           for update skip locked) due
 where rollup_progress.is_the_row = due.is_the_row
returning rollup_progress.is_the_row
