-- Counts messages that are to be answered ($1 projects, $2 how many of each), and tells how many
-- are within the limits.
select project_id as "project_id!", within as "within!" from count_inbound($1, $2)
