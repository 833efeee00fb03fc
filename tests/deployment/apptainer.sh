#!/usr/bin/env bash
# Make a working Apptainer for the tests, and print the folder to put on the PATH.
#
#   apptainer.sh [--debs DIR] [--allow-nonroot] [--selftest] PREFIX
#
#   --debs DIR       folder of the four Debian packages; what is missing there is fetched into it
#   --allow-nonroot  let every user of this machine mount .sif images: /dev/fuse becomes 0666, as udev makes it
#   --selftest       build an image of busybox, run it with a folder bound into it, and remove it
#
# An Apptainer on the PATH is taken as it is. Without one, a Debian machine gets it under PREFIX (79 MB), which must
# lie where every user who runs it may go, and cannot be moved afterwards. That needs root, for the helper programs.
#
# Debian has Apptainer in its newest suite only, built for a newer C library than a stable release has. So the packages
# are unpacked and not installed, the newer library stays under PREFIX, and only Apptainer's two programs are told to
# use it. The packages come from --debs, else from $SNAKESCOPE_APPTAINER_DEBS, else from shared/debs beside the
# checkout, else from the Debian mirror that this machine's apt knows.
set -euo pipefail

packages=(apptainer libc6 libseccomp2 libsqlite3-0)
# program:package, all of the release that this machine runs
helpers=(patchelf:patchelf mksquashfs:squashfs-tools squashfuse_ll:squashfuse fusermount3:fuse3
    fuse-overlayfs:fuse-overlayfs newuidmap:uidmap)
mark=.apptainer-for-tests # in a prefix of ours, which may be emptied

say() { echo "apptainer.sh: $*" >&2; }

fail() { # WHAT TO-DO
    say "$1"
    say "    $2"
    exit 1
}

read_arguments() {
    debs='' allow_nonroot=no selftest=no prefix=''
    while [ $# -gt 0 ]; do
        case $1 in
        --debs) debs=${2:?--debs needs a folder} && shift ;;
        --allow-nonroot) allow_nonroot=yes ;;
        --selftest) selftest=yes ;;
        -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" && exit 0 ;;
        -*) say "unknown option $1" && exit 2 ;;
        *) prefix=$1 ;;
        esac
        shift
    done
    [ -n "$prefix" ] || { say "usage: apptainer.sh [--debs DIR] [--allow-nonroot] [--selftest] PREFIX" && exit 2; }
}

works() { "$1" --version >/dev/null 2>&1; }

install_helpers() {
    local missing=() helper
    [ "$selftest" = no ] || command -v busybox >/dev/null || missing+=(busybox-static)
    for helper in "${helpers[@]}"; do
        command -v "${helper%%:*}" >/dev/null || missing+=("${helper##*:}")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    [ "$(id -u)" = 0 ] || fail "these packages are needed: ${missing[*]}" "Install them, or run this script as root."
    say "installing ${missing[*]}"
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

has_package() { compgen -G "$debs/$1_*.deb" >/dev/null; }

find_packages() { # -> debs: a folder that holds all four
    local beside name missing=()
    beside=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)/shared/debs
    [ -n "$debs" ] || debs=${SNAKESCOPE_APPTAINER_DEBS-}
    [ -n "$debs" ] || [ ! -d "$beside" ] || debs=$beside
    [ -n "$debs" ] || debs=$work/debs
    mkdir -p "$debs"
    debs=$(cd "$debs" && pwd)
    for name in "${packages[@]}"; do
        has_package "$name" || missing+=("$name")
    done
    [ ${#missing[@]} = 0 ] || fetch_packages "${missing[@]}"
    if [ -r "$debs/SHA256SUMS" ]; then
        (cd "$debs" && sha256sum --check --quiet SHA256SUMS >&2) ||
            fail "a package in $debs is not the one that its SHA256SUMS tells" "Remove the folder and fetch it anew."
    fi
}

# shellcheck disable=SC2016 # apt fills these in
known_mirror() { apt-get indextargets --format '$(REPO_URI) $(CODENAME)' | awk '$2 !~ /-/ {print $1; exit}'; }

fetch_packages() { # NAME...: from Debian's newest suite, by an index apart from this machine's own
    local mirror options
    mirror=$(known_mirror)
    [ -n "$mirror" ] || { apt-get update -qq >&2 && mirror=$(known_mirror); }
    [ -n "$mirror" ] || fail "apt knows no Debian mirror" "Give the packages with --debs: ${packages[*]}."
    mkdir -p "$work"/apt/{lists/partial,cache/archives/partial}
    chmod -R 755 "$work/apt"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror sid main" >"$work/apt/sources.list"
    options=(-o Dir::Etc::sourcelist="$work/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o Dir::State::Lists="$work/apt/lists" -o Dir::Cache="$work/apt/cache"
        -o Acquire::Languages=none -o Acquire::Retries=3 -o APT::Sandbox::User=root)
    say "fetching $*"
    apt-get "${options[@]}" update -qq >&2
    (cd "$debs" && apt-get "${options[@]}" download -qq "${@/%//sid}" >&2)
}

unpack() {
    local name libraries=$prefix/lib/glibc
    rm -rf "${prefix:?}"/{bin,etc,var,lib}
    mkdir -p "$work"/{program,libraries} "$libraries"
    for name in "${packages[@]}"; do
        if [ "$name" = apptainer ]; then
            dpkg-deb -x "$debs/$name"_*.deb "$work/program"
        else
            dpkg-deb -x "$debs/$name"_*.deb "$work/libraries"
        fi
    done
    cp -a "$work"/program/usr/bin "$work"/program/etc "$work"/program/var "$prefix/"
    cp -a "$work"/program/usr/lib/. "$prefix/lib/"
    find "$work/libraries" -path '*/lib/*' ! -path '*/gconv/*' \( -name '*.so' -o -name '*.so.*' \) \
        -exec cp -a {} "$libraries/" \;
    # Debian's library folder is one level deeper than Apptainer expects: it looks for its configuration here.
    ln -s ../etc "$prefix/lib/etc"
    ln -s ../var "$prefix/lib/var"
}

configure() {
    local loader starter program
    # Where root itself lacks a capability, asking for all of them ends the start: "Requesting capability set".
    sed -i 's/^root default capabilities *=.*/root default capabilities = no/' "$prefix/etc/apptainer/apptainer.conf"
    loader=$(find "$prefix/lib/glibc" -name 'ld-linux*.so.*' -print -quit)
    starter=$(find "$prefix/lib" -path '*/apptainer/bin/starter' -print -quit)
    for program in "$starter" "$prefix/bin/apptainer"; do # the last one makes the prefix a finished one
        patchelf --set-interpreter "$loader" --force-rpath --set-rpath "$prefix/lib/glibc" "$program"
    done
}

install_apptainer() {
    command -v dpkg-deb >/dev/null ||
        fail "Apptainer is not on the PATH, and this is no Debian machine" "Install Apptainer 1.2 or newer."
    mkdir -p "$prefix"
    prefix=$(cd "$prefix" && pwd -P)
    program=$prefix/bin/apptainer
    [ -e "$prefix/$mark" ] || [ -z "$(ls -A "$prefix")" ] ||
        fail "$prefix holds something else" "Name a folder that is empty or not there yet."
    touch "$prefix/$mark"
    install_helpers
    works "$program" && return
    find_packages
    unpack
    configure
    works "$program" || fail "$program does not run" "Remove $prefix and see what $program --version says."
}

try_it() {
    local root=$work/root name said
    command -v busybox >/dev/null || fail "the self-test needs busybox" "Install busybox-static."
    mkdir -p "$root"/{bin,etc,tmp,proc,sys,dev,var/tmp,mnt} "$work/data"
    cp "$(command -v busybox)" "$root/bin/busybox"
    for name in sh cat; do ln -s busybox "$root/bin/$name"; done
    echo 'root:x:0:0::/:/bin/sh' >"$root/etc/passwd"
    echo 'root:x:0:' >"$root/etc/group"
    touch "$root/etc/resolv.conf" "$root/etc/hosts"
    "$program" -s build "$work/busybox.sif" "$root" >&2
    echo bound >"$work/data/file"
    said=$("$program" -s exec --bind "$work/data:/mnt" "$work/busybox.sif" cat /mnt/file)
    [ "$said" = bound ] || fail "an image of busybox does not run" "Try it by hand: $program exec IMAGE sh"
    say "self-test passed"
}

read_arguments "$@"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
program=$(command -v apptainer || :)
if [ -z "$program" ] || ! works "$program"; then install_apptainer; fi
if [ $allow_nonroot = yes ] && [ -c /dev/fuse ] && [ "$(id -u)" = 0 ]; then chmod 666 /dev/fuse; fi
[ $selftest = no ] || try_it
dirname "$program"
