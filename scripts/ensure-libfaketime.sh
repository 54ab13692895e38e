#!/bin/sh
# Makes sure that libfaketime is on a Linux machine: a story gives two workers clocks that are five
# minutes apart.
set -eu
. "$(dirname "$0")/packages.sh"

found() {
    for library in /usr/lib/*/faketime/libfaketime.so.1 /usr/lib/faketime/libfaketime.so.1 \
        /usr/lib64/faketime/libfaketime.so.1; do
        [ -e "$library" ] && return 0
    done
    return 1
}

# Elsewhere the story is left out.
if [ "$(uname)" != Linux ] || found; then
    exit 0
fi

if has_apt; then
    apt_update libfaketime
    apt_install libfaketime || true
fi
if found; then exit 0; fi

cat >&2 <<'TEXT'
libfaketime is missing and could not be installed by itself. Install it:
  Debian, Ubuntu   apt-get install libfaketime
  Fedora           dnf install libfaketime
TEXT
exit 1
