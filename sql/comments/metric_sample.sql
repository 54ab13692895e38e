comment on table metric_sample is 'What one process counts in the database for the metrics, and all processes show.';
comment on column metric_sample.name is 'What is counted: queues or sessions.';
comment on column metric_sample.next_at is 'Time from which on a process may count again; while one counts, it keeps the others away until then.';
comment on column metric_sample.sampled_at is 'Time of the last count; null: none has ended.';
comment on column metric_sample.counts is 'The counts, as JSON.';
