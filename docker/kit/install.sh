#!/bin/sh
# Check this kit and install it without a network: sh install.sh /opt/polyclinic
# PYTHON is the interpreter; by default it is found by its version.
set -eu
fail() { echo "error: $1" >&2; exit 1; }
# Quote a word for a shell.
quote() { printf "'%s'" "$(printf %s "$1" | sed "s/'/'\\\\''/g")"; }

kit=$(cd "$(dirname "$0")" && pwd)
target=${1:-}
[ -n "$target" ] || fail "no folder; give one that is not there yet, such as /opt/polyclinic"
case $target in /*) ;; *) target=$PWD/$target ;; esac
if [ -e "$target" ] && [ -n "$(ls -A "$target" 2>&1)" ]; then
    fail "$target is there and not empty; remove it, or give another folder"
fi

cd "$kit"
echo "checking the kit"
[ -f SHA256SUMS ] || fail "the kit has no SHA256SUMS; carry it over again"
sha256sum --check --strict --quiet SHA256SUMS || fail "the kit is damaged or altered; carry it over again"
listed=$(sed 's/^[0-9a-f]*  //' SHA256SUMS | LC_ALL=C sort)
there=$(find . ! -type d ! -path ./SHA256SUMS | LC_ALL=C sort)
[ "$listed" = "$there" ] || fail "the kit holds files that SHA256SUMS does not list; carry it over again"

read -r version machine < PYTHON
python=${PYTHON:-python$version}
command -v "$python" > /dev/null || fail "the wheels are for Python $version, which is not here as $python; install it, or set PYTHON"
# -I: nothing is imported from the kit, or from PYTHONPATH.
got=$("$python" -I -c "import platform, sys; print('%d.%d' % sys.version_info[:2], platform.machine())")
[ "$got" = "$version $machine" ] || fail "got Python $got, expected $version $machine, which the wheels are for; set PYTHON"

echo "installing into $target"
trap 'rm -rf "$target"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
"$python" -I -m venv "$target" || fail "no virtual environment can be made; install the venv package of Python $version"
wheel=$(echo ./wheels/polyclinic-*.whl)
# --isolated: ignore the pip configuration of this machine.
"$target/bin/python" -I -m pip --isolated --disable-pip-version-check --quiet \
    install --no-index --no-cache-dir --find-links wheels "$wheel[serve,deidentify,backbones]"
"$target/bin/python" -I -m pip --isolated --disable-pip-version-check check > /dev/null || fail "the wheels do not fit each other"
"$target/bin/polyclinic" bundle verify bundle
trap - EXIT
echo "installed: $target"
echo "next: $(quote "$target/bin/polyclinic") score $(quote "$kit/bundle") --help"
