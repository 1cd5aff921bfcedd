#!/bin/sh
# Installs aria2 if it is missing and we may. With --required a missing program is an error, else a warning:
# the daemon runs without it and says so.
set -eu

command -v aria2c >/dev/null 2>&1 && exit 0

required=${1:-}

if command -v apt-get >/dev/null 2>&1; then
    install='apt-get install -y --no-install-recommends aria2'
    refresh='apt-get update -qq'
elif command -v dnf >/dev/null 2>&1; then
    install='dnf install -y aria2'
    refresh=true
elif command -v pacman >/dev/null 2>&1; then
    install='pacman -S --noconfirm --needed aria2'
    refresh=true
elif command -v apk >/dev/null 2>&1; then
    install='apk add aria2'
    refresh=true
elif command -v brew >/dev/null 2>&1; then
    install='brew install aria2'
    refresh=true
else
    install=
    refresh=true
fi

as_root=
may=yes
case $install in
    '') may=no ;;
    brew*) ;;
    *)
        if [ "$(id -u)" -ne 0 ]; then
            if command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then as_root='sudo -n'; else may=no; fi
        fi
        ;;
esac

if [ "$may" = yes ]; then
    echo "installing aria2: $as_root $install" >&2
    # shellcheck disable=SC2086 # words on purpose
    if DEBIAN_FRONTEND=noninteractive $as_root $refresh >/dev/null 2>&1; then :; fi
    # shellcheck disable=SC2086
    if DEBIAN_FRONTEND=noninteractive $as_root $install >/dev/null 2>&1 && command -v aria2c >/dev/null 2>&1; then
        exit 0
    fi
    echo "that failed." >&2
fi

echo "aria2c is missing: magnets, torrents, files over http and ftp need it." >&2
if [ -n "$install" ]; then
    echo "  install it: sudo $install" | sed 's/sudo brew/brew/' >&2
else
    echo "  install it: https://aria2.github.io" >&2
fi
[ "$required" != --required ]
