#!/bin/sh
# Make a virtual environment with pip at $1, from the first Python >= 3.11 on the PATH ($PYTHON names one).
# Needs no root: where Debian's python3-venv is missing, pip comes from elsewhere (below).
set -eu
venv=$1
oldest="import sys; sys.exit(sys.version_info < (3, 11))"

fail() {
    printf 'error: %s\n' "$1" >&2
    shift
    printf '  %s\n' "$@" >&2
    exit 1
}

if "$venv/bin/python" -c "$oldest" 2>/dev/null && "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    exit 0
fi

python=
for name in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
    if "$name" -c "$oldest" 2>/dev/null; then
        python=$name
        break
    fi
done
if [ "$(uname -s)" = Darwin ] && [ -n "$python" ]; then
    "$python" -c 'import platform, sys; sys.exit(platform.machine() != "arm64")' || fail \
        "$python is made for Intel, and MLX needs Apple silicon: a Python for arm64, which one under Rosetta is not." \
        "Install one (brew install python@3.13 in /opt/homebrew), or name one: make PYTHON=/opt/homebrew/bin/python3 ..."
    [ "$(sw_vers -productVersion | cut -d. -f1)" -ge 14 ] || fail \
        "MLX needs macOS 14 or newer, and this is $(sw_vers -productVersion)." \
        "Update macOS, or run prefd on another machine."
fi
[ -n "$python" ] || fail \
    "prefd needs Python 3.11 or newer, and ${PYTHON:-python3} is $("${PYTHON:-python3}" --version 2>/dev/null || echo missing)." \
    "Install one (Debian, Ubuntu: apt-get install python3-venv; macOS: brew install python@3.13)," \
    "or name one: make PYTHON=/path/to/python3 ..."

echo "making $venv with $("$python" --version)"
rm -rf "$venv"
if "$python" -c "import ensurepip" 2>/dev/null; then
    exec "$python" -m venv "$venv"
fi

# Debian's python3 without python3-venv has no ensurepip: an empty environment, then pip from where it can be had.
"$python" -m venv --without-pip "$venv"
if "$python" -m pip --python "$venv/bin/python" install --quiet pip 2>/dev/null; then
    exit 0
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/lists/partial" "$scratch/cache/archives/partial"
apt() {
    (cd "$scratch" && apt-get -qq -oDir::State::Lists="$scratch/lists" -oDir::Cache="$scratch/cache" \
        -oDebug::NoLocking=1 -oAPT::Sandbox::User="$(id -un)" "$@" >/dev/null 2>&1)
}
if apt update; apt download python3-pip-whl && dpkg-deb --extract "$scratch"/python3-pip-whl_*.deb "$scratch/pip"; then
    for wheel in "$scratch"/pip/usr/share/python-wheels/pip-*.whl; do
        "$venv/bin/python" "$wheel/pip" install --quiet pip && exit 0
    done
fi
rm -rf "$venv"
fail "$("$python" --version) has no ensurepip, so it cannot make a virtual environment." \
    "Install it (Debian, Ubuntu: apt-get install python3-venv), then try again."
