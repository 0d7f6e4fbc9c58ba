#!/bin/sh
# Collect all that a machine without a network needs in one folder: make airgap BUNDLE=bundle
# usage: airgap.sh BUNDLE OUT. PYTHON is an interpreter with polyclinic; WHEELS is a folder of wheels to use instead
# of the package index of pip.
set -eu
fail() { echo "error: $1" >&2; exit 1; }

[ -n "${1:-}" ] || fail "no bundle; set BUNDLE to a folder of \`polyclinic bundle export\`"
[ -n "${2:-}" ] || fail "no folder to write; set the second argument"
root=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
out=${2%/}
part=$out.part
if [ -e "$out" ] && { [ ! -f "$out/SHA256SUMS" ] || [ ! -f "$out/install.sh" ]; }; then
    fail "$out exists and is not a kit; set the second argument to another folder"
fi
# -I: nothing is imported from the working folder, or from PYTHONPATH.
"$python" -I -m polyclinic bundle verify "$1" > /dev/null

mkdir "$part" || fail "another kit is being gathered there, or one was killed; remove $part"
trap 'rm -rf "$part"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
mkdir -p "$part/wheels" "$part/docs"
pip() { "$python" -I -m pip --disable-pip-version-check --quiet --quiet "$@"; }

echo "building the wheel of polyclinic"
# If the build tool is installed, nothing is downloaded for it.
alone=$("$python" -I -c "import hatchling" 2> /dev/null && echo --no-build-isolation || true)
pip wheel --no-deps $alone --wheel-dir "$part/own" "$root"

if [ -n "${WHEELS:-}" ]; then
    cp "$WHEELS"/*.whl "$part/wheels"
    cp "$part/own"/*.whl "$part/wheels"
else
    # A kit with the CPU build of torch is a fifth of one with CUDA, but not every index has it.
    sed 's/^\(torch\|torchvision\)==[0-9.]*$/&+cpu/' "$root/constraints.txt" > "$part/docs/constraints.txt"
    exact=$(sed -n '/^torch\(vision\)\{0,1\}==/p' "$part/docs/constraints.txt")
    if ! pip download --no-deps --only-binary :all: --dest "$part/wheels" $exact 2> /dev/null; then
        echo "the index has no CPU build of this torch: taking the one with CUDA"
        rm -f "$part/wheels"/*
        cp "$root/constraints.txt" "$part/docs/constraints.txt"
    fi
    echo "fetching wheels"
    wheel=$(echo "$part"/own/*.whl)
    # What scores, serves and de-identifies; nothing that trains.
    pip download --only-binary :all: --constraint "$part/docs/constraints.txt" --dest "$part/wheels" \
        "$wheel[serve,deidentify,backbones]"
fi
rm -rf "$part/own"

mkdir "$part/bundle" "$part/container"
cp -R "$1/." "$part/bundle"
cp "$root/docker/sandbox"/* "$part/container"
cp "$root/docker/kit/README.md" "$root/docker/kit/install.sh" "$part"
cp "$root/README.md" "$root/CHANGELOG.md" "$root/LICENSE" "$part/docs"
cp "$root/docs/concepts/calibration.md" "$root/docs/concepts/privacy.md" "$root/docs/reference/http.md" "$part/docs"
"$python" -I -c "import platform, sys; print('%d.%d' % sys.version_info[:2], platform.machine())" > "$part/PYTHON"
find "$part" -type d -exec chmod 755 {} +
find "$part" -type f -exec chmod 644 {} +
(cd "$part" && find . -type f ! -path ./SHA256SUMS -print0 | LC_ALL=C sort -z | xargs -0 sha256sum > SHA256SUMS)

rm -rf "$out"
mv "$part" "$out"
echo "kit: $out ($(du -sh "$out" | cut -f1), $(ls "$out/wheels" | wc -l) wheels)"
echo "sha256 of its SHA256SUMS, to be carried by another way: $(sha256sum "$out/SHA256SUMS" | cut -d' ' -f1)"
echo "next: carry the folder to the other machine, and there: sh install.sh /opt/polyclinic"
