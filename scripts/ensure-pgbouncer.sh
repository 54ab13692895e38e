#!/bin/sh
# Makes sure that PgBouncer is on a Linux machine: a story runs textback behind it. It is only
# installed: none is set up.
set -eu
. "$(dirname "$0")/packages.sh"

found() {
    command -v pgbouncer >/dev/null 2>&1 || [ -x /usr/sbin/pgbouncer ]
}

if [ "$(uname)" != Linux ] || found; then
    exit 0
fi

if has_apt; then
    apt_update PgBouncer
    apt_install pgbouncer || true
fi
if found; then exit 0; fi

cat >&2 <<'TEXT'
PgBouncer is missing and could not be installed by itself. Install it:
  Debian, Ubuntu   apt-get install pgbouncer
  Fedora           dnf install pgbouncer
TEXT
exit 1
