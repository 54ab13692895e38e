#!/bin/sh
# Makes sure that PgBouncer is on a Linux machine: a story runs textback behind it. It is only installed: none is set up.
set -eu

found() {
    command -v pgbouncer >/dev/null 2>&1 || [ -x /usr/sbin/pgbouncer ]
}

if [ "$(uname)" != Linux ] || found; then
    exit 0
fi

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

if command -v apt-get >/dev/null 2>&1 && { [ "$(id -u)" = 0 ] || command -v sudo >/dev/null 2>&1; }; then
    echo "PgBouncer is missing; installing it with apt-get" >&2
    as_root apt-get update -qq || true
    # RUNLEVEL=1 keeps Debian from starting the service of the package.
    as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends pgbouncer >/dev/null || true
fi
if found; then exit 0; fi

cat >&2 <<'TEXT'
PgBouncer is missing and could not be installed by itself. Install it:
  Debian, Ubuntu   apt-get install pgbouncer
  Fedora           dnf install pgbouncer
TEXT
exit 1
