#!/bin/sh
# Makes sure that Mermaid, which draws the diagrams of the book, is below target/tools, and prints
# its path. It comes from npm and is known by its hash.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
tools="$root/target/tools"
version=11.12.0
file_hash=07e37dfa97b337ccc85365d57eddf99b9706f09db3b59b260d0333b23b343c4b
script="$tools/mermaid-$version.min.js"

if [ ! -f "$script" ]; then
    command -v npm >/dev/null 2>&1 || { echo "npm is missing; install node 20 or newer" >&2; exit 1; }
    mkdir -p "$tools"
    download=$(mktemp -d)
    trap 'rm -rf "$download"' EXIT
    npm pack --silent --pack-destination "$download" "mermaid@$version" >&2
    tar -xzf "$download/mermaid-$version.tgz" -C "$download" package/dist/mermaid.min.js
    found=$(python3 -c 'import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest())' \
        "$download/package/dist/mermaid.min.js")
    [ "$found" = "$file_hash" ] || { echo "Mermaid $version has the hash $found and not $file_hash" >&2; exit 1; }
    mv "$download/package/dist/mermaid.min.js" "$script"
fi
echo "$script"
