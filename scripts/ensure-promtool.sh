#!/bin/sh
# Makes sure that Prometheus' promtool is on a Linux machine: stories check the metrics and the alerts with it. It is only installed:
# no Prometheus is set up.
set -eu

if [ "$(uname)" != Linux ] || command -v promtool >/dev/null 2>&1; then
    exit 0
fi

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

if command -v apt-get >/dev/null 2>&1 && { [ "$(id -u)" = 0 ] || command -v sudo >/dev/null 2>&1; }; then
    echo "promtool is missing; installing it with apt-get" >&2
    as_root apt-get update -qq || true
    # RUNLEVEL=1 keeps Debian from starting the service of the package.
    as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends prometheus >/dev/null || true
fi
if command -v promtool >/dev/null 2>&1; then exit 0; fi

cat >&2 <<'TEXT'
promtool is missing and could not be installed by itself. Install it:
  Debian, Ubuntu   apt-get install prometheus
  Fedora           dnf install golang-github-prometheus
  others           https://prometheus.io/download/
TEXT
exit 1
