#!/bin/sh
# Starts Superset with the dashboards of deploy/superset (scripts/dashboards.py), or with "test"
# looks at them in Chromium (tests/browser/dashboards.mjs). Installs Superset below target/superset,
# and for the test what scripts/browser.sh installs.
set -eu
cd "$(dirname "$0")/.."
binaries=$(scripts/ensure-superset.sh)
if [ "${1:-}" = test ]; then
    exec scripts/browser.sh tests/browser/dashboards.mjs
fi
exec "$binaries/python3" scripts/dashboards.py
