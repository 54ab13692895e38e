#!/bin/sh
# Makes sure that libfaketime is on a Linux machine: a story gives two workers clocks that are five minutes apart.
set -eu

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

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

if command -v apt-get >/dev/null 2>&1 && { [ "$(id -u)" = 0 ] || command -v sudo >/dev/null 2>&1; }; then
    echo "libfaketime is missing; installing it with apt-get" >&2
    as_root apt-get update -qq || true
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends libfaketime >/dev/null || true
fi
if found; then exit 0; fi

cat >&2 <<'TEXT'
libfaketime is missing and could not be installed by itself. Install it:
  Debian, Ubuntu   apt-get install libfaketime
  Fedora           dnf install libfaketime
TEXT
exit 1
