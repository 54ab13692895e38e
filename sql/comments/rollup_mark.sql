comment on table rollup_mark is 'An hour in which a row changed after the hour may have been counted for the last time; the job counts it again.';
comment on column rollup_mark.id is 'Id of the mark, in the order of marking.';
comment on column rollup_mark.hour is 'Hour to count again, by its start, in UTC.';
