-- Draws the number of an agent's next version and makes it current; two callers queue here.
update agent set current_version = current_version + 1 where project_id = $1 and id = $2 returning current_version
