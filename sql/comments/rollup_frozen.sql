comment on table rollup_frozen is 'An hour of a project of which rows were deleted after it was counted for the last time; it is never counted again.';
comment on column rollup_frozen.project_id is 'Id of the project.';
comment on column rollup_frozen.hour is 'Hour that is not counted again, by its start, in UTC.';
