#!/bin/sh
# Measures the views by hour on a database of its own: fills it with TEXTBACK_BENCH_MESSAGES
# messages (10 million take about 7 GB), counts them hour by hour, and times the questions of
# dashboards for one project and for all. DATABASE_URL: an empty database that `textback migrate`
# prepared, as a superuser. The database can be dropped afterwards.
set -eu
cd "$(dirname "$0")"
: "${DATABASE_URL:?an empty database after textback migrate}"
messages=${TEXTBACK_BENCH_MESSAGES:-10000000}
ask() { psql "$DATABASE_URL" -X -q -v ON_ERROR_STOP=1 "$@"; }
echo "filling $messages messages"
ask -v "messages=$messages" -f fill.sql > /dev/null
ask -At -c "select pg_size_pretty(pg_database_size(current_database()))"
echo "counting 90 days, an hour in each transaction"
ask -f count.sql
ask -c "do \$\$ begin create role bench_dashboard login; exception when duplicate_object then null; end \$\$" \
    -c "grant usage on schema reporting to bench_dashboard; grant select on all tables in schema reporting to bench_dashboard" \
    -c "alter role bench_dashboard set statement_timeout = '15s'" \
    -c "insert into textback.reporting_access select 'bench_dashboard', id from textback.project where name = 'bench 1' on conflict do nothing"
for who in one all; do
    [ "$who" = one ] || ask -c "update textback.reporting_access set project_id = null where role_name = 'bench_dashboard'"
    echo "== $who project(s), the second run"
    ask -c "set role bench_dashboard" -f questions.sql > /dev/null
    ask -c "set role bench_dashboard" -f questions.sql
done
