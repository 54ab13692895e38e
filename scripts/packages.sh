# For scripts/ensure-*.sh: installs packages of Debian and Ubuntu. On other systems the scripts say
# what to install.

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

has_apt() {
    command -v apt-get >/dev/null 2>&1 && { [ "$(id -u)" = 0 ] || command -v sudo >/dev/null 2>&1; }
}

# apt_update NAME: says that NAME is missing, and reads the lists of packages.
apt_update() {
    echo "$1 is missing; installing it with apt-get" >&2
    as_root apt-get update -qq || true
}

# RUNLEVEL=1 keeps Debian from starting the service of a package.
apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "$1" >/dev/null
}
