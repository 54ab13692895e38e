-- What the metrics show of the database.

-- One process at a time counts, and all processes show what it counted.
create table metric_sample (
    name       text        not null constraint metric_sample_pk primary key
                           constraint metric_sample_name_is_known check (name in ('queues', 'sessions')),
    next_at    timestamptz not null,
    sampled_at timestamptz,
    counts     jsonb,
    constraint metric_sample_has_counts_and_their_time check ((counts is null) = (sampled_at is null))
);
