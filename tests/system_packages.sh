#!/bin/sh
# What the tests need of the system: a browser with its driver, and PostgreSQL. Installs them on Debian and its kin.
set -eu

has() { command -v "$1" > /dev/null; }
postgres() { has initdb || ls /usr/lib/postgresql/*/bin/initdb > /dev/null 2>&1; }

if has chromium && has chromedriver && postgres; then
    exit 0
fi
if has apt-get && [ "$(id -u)" = 0 ]; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends \
        chromium chromium-driver fonts-dejavu-core postgresql > /dev/null
    exit 0
fi
echo "error: the tests need chromium, chromedriver and PostgreSQL; install them, or run $0 as root on Debian" >&2
exit 1
