-- The numbers $1 are checked at once, unless they are detached.
update number set check_at = now() where id = any ($1) and check_at is not null
