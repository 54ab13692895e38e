-- The server's version and clock, and how many connections it has for roles that are no superusers.
select current_setting('server_version') as "version!", clock_timestamp() as "now!",
       current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int as "connections!"
