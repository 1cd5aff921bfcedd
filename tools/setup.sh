#!/bin/sh
# Makes the virtual environment and installs the package into it, with pinned versions.
# Usage: tools/setup.sh VENV run|dev      PYTHON names the interpreter; else the newest of 3.11 and later is taken.
set -eu

venv=$1
kind=$2
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"

say() { printf '%s\n' "$*" >&2; }

usable() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    for name in ${PYTHON:-} python3 python3.13 python3.12 python3.11; do
        if command -v "$name" >/dev/null 2>&1 && usable "$name"; then
            command -v "$name"
            return
        fi
    done
    say "OpenDebrid needs Python 3.11 or newer; none was found."
    say "  Debian and Ubuntu: apt-get install python3 python3-venv"
    exit 1
}

if ! [ -x "$venv/bin/python" ] || ! usable "$venv/bin/python"; then
    python=$(find_python)
    say "making $venv with $python"
    if ! "$python" -m venv --clear "$venv" >"$venv.log" 2>&1; then
        cat "$venv.log" >&2
        say "$python cannot make virtual environments."
        say "  Debian and Ubuntu: apt-get install python3-venv"
        rm -f "$venv.log"
        exit 1
    fi
    rm -f "$venv.log"
fi

extras=
if ! command -v ffmpeg >/dev/null 2>&1; then
    say "no ffmpeg on PATH: taking the one from the extra opendebrid[ffmpeg]"
    extras=ffmpeg
fi
if [ "$kind" = dev ]; then
    extras=${extras:+$extras,}dev
fi

pip() { "$venv/bin/python" -m pip --disable-pip-version-check --no-input "$@"; }

say "installing into $venv (once; takes a minute)"
# the build tools first, pinned as well: no isolated build environment has to be fetched for them;
# setuptools is for dependencies that come as source, and new venvs have one that cannot build a wheel
pip install --quiet --constraint constraints.txt hatchling editables setuptools
pip install --quiet --constraint constraints.txt --no-build-isolation --editable ".${extras:+[$extras]}"
# as pip does with what it copies: where Python may not write bytecode, each start would compile the program anew
"$venv/bin/python" -m compileall -q odctl oddaemon proto/odproto
touch "$venv/.run"
if [ "$kind" = dev ]; then
    touch "$venv/.dev"
fi
