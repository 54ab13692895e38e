-- Draws the number of an agent's next version; two callers queue here.
update agent set newest_version = newest_version + 1 where project_id = $1 and id = $2 returning newest_version
