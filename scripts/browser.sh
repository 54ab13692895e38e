#!/bin/sh
# Looks at the console of `textback dev` (tests/browser/console.mjs) and the book (book.mjs) in
# Chromium, or runs another test of that folder. Installs what it needs below target/browser, and
# Chromium with apt-get if it is missing; CHROMIUM names another one.
set -eu
cd "$(dirname "$0")/.."

for program in node npm; do
    command -v "$program" >/dev/null 2>&1 || { echo "$program is missing; install node 20 or newer" >&2; exit 1; }
done

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

found() {
    for name in "${CHROMIUM:-}" chromium chromium-browser google-chrome; do
        if [ -n "$name" ] && command -v "$name" 2>/dev/null; then return; fi
    done
    return 1
}

if ! found >/dev/null && command -v apt-get >/dev/null 2>&1; then
    echo "Chromium is missing; installing it with apt-get" >&2
    as_root apt-get update -qq || true
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null || true
fi
if ! CHROMIUM=$(found); then
    echo "Chromium is missing; install it, or set CHROMIUM to its path" >&2
    exit 1
fi
export CHROMIUM

tools=target/browser
mkdir -p "$tools"
[ -f "$tools/package.json" ] || echo '{"private": true}' > "$tools/package.json"
[ -d "$tools/node_modules/axe-core" ] || npm install --silent --no-audit --no-fund --no-package-lock --prefix "$tools" \
    playwright-core@1.65.1 axe-core@4.14.1
if [ $# -gt 0 ]; then
    exec node "$1"
fi
node tests/browser/console.mjs
exec node tests/browser/book.mjs
