#!/bin/sh
# Makes sure that Apache Superset is in a virtual environment below target/superset (about 850 MB),
# by the versions and hashes of deploy/superset/requirements.txt. Prints the folder of its programs.
# PYTHON names another Python; Superset 6.1 needs 3.10 to 3.12.
set -eu
cd "$(dirname "$0")/.."

requirements=deploy/superset/requirements.txt
venv=target/superset/venv
installed=$venv/installed-requirements.txt
if cmp -s "$requirements" "$installed"; then
    echo "$venv/bin"
    exit 0
fi

found() {
    for name in "${PYTHON:-}" python3.11 python3.12 python3.10 python3; do
        if [ -n "$name" ] && "$name" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    return 1
}

if ! python=$(found); then
    echo "Superset 6.1 needs Python 3.10, 3.11 or 3.12; install one, or set PYTHON to its path" >&2
    exit 1
fi
echo "Superset is missing; installing it below target/superset (minutes, 850 MB)" >&2
rm -rf "$venv"
mkdir -p target/superset
"$python" -m venv "$venv"
wanted=$requirements
if [ "$("$python" -c 'import platform, sys; print(*sys.version_info[:2], platform.system(), platform.machine())')" != "3 11 Linux x86_64" ]; then
    # The files for this machine are others, so only their versions are pinned.
    wanted=target/superset/requirements.txt
    sed 's/ --hash=.*//' "$requirements" > "$wanted"
fi
"$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$wanted" >&2
cp "$requirements" "$installed"
echo "$venv/bin"
