-- Whether the counts of an hour of a project stay as they are, because rows of it were deleted.
create or replace function is_frozen(of_project uuid, of_hour timestamptz) returns boolean language sql stable parallel safe
return exists (select from rollup_frozen where rollup_frozen.project_id = of_project and rollup_frozen.hour = of_hour);
