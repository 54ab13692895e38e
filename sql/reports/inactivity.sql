-- What became of inactive sessions
-- How many sessions were warned, and what became of them.
-- chart: ranking
-- outcome (text): rescued, ended, ended_otherwise, waiting, or ended_without_warning (on a channel without warnings).
-- sessions (count): Inactive sessions.

select outcome.outcome, sum(outcome.sessions)::bigint as sessions
  from reporting.inactivity_by_hour_v1
 cross join lateral (values ('rescued', rescued), ('ended', ended), ('ended_otherwise', ended_otherwise), ('waiting', waiting),
                            ('ended_without_warning', ended_without_warning)) outcome (outcome, sessions)
 where outcome.sessions > 0 and hour >= date_trunc('hour', $1::timestamptz) and hour < $2::timestamptz
 group by 1
 order by 2 desc, 1;
