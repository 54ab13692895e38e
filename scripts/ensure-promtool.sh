#!/bin/sh
# Makes sure that Prometheus' promtool is on a Linux machine: stories check the metrics and the
# alerts with it. It is only installed: no Prometheus is set up.
set -eu
. "$(dirname "$0")/packages.sh"

if [ "$(uname)" != Linux ] || command -v promtool >/dev/null 2>&1; then
    exit 0
fi

if has_apt; then
    apt_update promtool
    apt_install prometheus || true
fi
if command -v promtool >/dev/null 2>&1; then exit 0; fi

cat >&2 <<'TEXT'
promtool is missing and could not be installed by itself. Install it:
  Debian, Ubuntu   apt-get install prometheus
  Fedora           dnf install golang-github-prometheus
  others           https://prometheus.io/download/
TEXT
exit 1
