#!/usr/bin/env bash
usage() {
    cat <<'U'
Runs the README's two commands, `make demo` and `make test`, where nothing else is: in a bare Debian 12
with git, make, python3 and python3-venv, as an unprivileged user with an empty HOME, on a clean clone of
the commit that is checked out here. What is not committed takes no part.

  tests/platform/bare_debian.sh [--busy N] [--fresh] [COMMAND...]

  --busy N   beside them N processes compute without end: a busy machine
  --fresh    makes the Debian anew instead of taking the one in the cache
  COMMAND    runs these instead, each one argument: "make lint"

It needs root, debootstrap, git, and a network for Debian's packages and pip's. From the environment:

  CACHE      where the Debian is kept and the run takes place, about 1.5 GB: /var/tmp/feedwatch-bare
  MIRROR     the Debian mirror, if not debootstrap's own choice
  KEEP=1     leaves the run's folder, with all that the tests left, until the next run
  FEEDWATCH_TEST_FEEDS   the absolute path of the collection of feeds, or the tests of it are skipped

pip inside is told what pip is told here, by PIP_* and by pip.conf. Proxies come from the environment,
too. The files and folders that all these name are seen inside, read-only.
U
}
set -euo pipefail

SUITE=bookworm
PACKAGES=git,make,python3,python3-venv
CACHE=${CACHE:-/var/tmp/feedwatch-bare}

say() { printf '== %s\n' "$*" >&2; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 2; }

busy=0 fresh=
while [ $# -gt 0 ]; do
    case $1 in
    --busy) busy=${2-} && shift 2 || die "--busy wants a number" ;;
    --fresh) fresh=1 && shift ;;
    --help | -h) usage && exit ;;
    -*) usage >&2 && die "unknown option: $1" ;;
    *) break ;;
    esac
done
[[ $busy =~ ^[0-9]+$ ]] || die "--busy wants a number, not '$busy'"
[ $# -gt 0 ] || set -- "make demo" "make test"
[ "$(id -u)" = 0 ] || die "only root can make a root file system and change into it"
for tool in debootstrap flock git setpriv tar unshare; do
    command -v "$tool" >/dev/null || die "$tool is missing: apt install debootstrap git tar util-linux"
done

# in_namespaces COMMAND...: its mounts and processes end with it, and it ends with this script.
running=
in_namespaces() {
    local rc=0
    setpriv --pdeathsig KILL unshare --mount --propagation private --pid --fork --kill-child "$@" &
    running=$!
    wait "$running" || rc=$?
    running=
    return "$rc"
}
work=
clean_up() {
    [ -z "$running" ] || { kill -KILL "$running" && wait "$running"; } 2>/dev/null || true
    [ -z "$work" ] || [ -n "${KEEP:-}" ] || rm -rf --one-file-system "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

mkdir -p "$CACHE"
exec {lock}> "$CACHE/lock"
flock --nonblock "$lock" || { say "waits for another run" && flock "$lock"; }
rm -rf --one-file-system "$CACHE"/run.* # kept, or left by a run that was killed
work=$(mktemp -d "$CACHE/run.XXXXXX")
chmod 755 "$work"
root=$work/root

archive=$CACHE/$SUITE.$(sha256sum <<< "$PACKAGES" | cut -c1-8).tar
if [ -n "$fresh" ] || [ ! -e "$archive" ]; then
    say "makes a bare Debian: $SUITE with ${PACKAGES//,/ }"
    in_namespaces debootstrap --variant=minbase --include="$PACKAGES" "$SUITE" "$root" ${MIRROR:+"$MIRROR"} \
        > "$work/debootstrap.log" 2>&1 || { tail "$work/debootstrap.log" >&2 && exit 1; }
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
    tar --create --numeric-owner --file "$archive.part" --directory "$root" .
    mv "$archive.part" "$archive"
else
    mkdir "$root"
    tar --extract --numeric-owner --file "$archive" --directory "$root"
fi
chroot "$root" useradd --create-home --skel /dev/null --shell /bin/bash someone

# An installer writes the first, a network the second.
printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n' > "$root/etc/hosts"
cp --remove-destination --dereference /etc/resolv.conf "$root/etc/resolv.conf"

checkout=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../..")
git=(git -c safe.directory="$checkout" -C "$checkout")
"${git[@]}" bundle create --quiet "$root/srv/feedwatch.bundle" HEAD
chmod 644 "$root/srv/feedwatch.bundle"

# What is seen inside, where it is here: pip's files, and what these and the environment name. An index called
# simple has its files beside it.
own=${PIP_CONFIG_FILE:-${XDG_CONFIG_HOME:-$HOME/.config}/pip/pip.conf}
{
    for file in /etc/pip.conf "$own"; do
        [ ! -f "$file" ] || printf '%s\n' "$file"
    done
    printf '%s\n' "${FEEDWATCH_TEST_FEEDS:-}"
    { cat /etc/pip.conf "$own" 2>/dev/null || true; env | grep ^PIP_ | grep -v ^PIP_CONFIG_FILE=; } |
        grep -v '^ *[#;]' | grep -oE '(^|[ =,]|file://)/[^ ,]+' | sed -E 's#^([ =,]|file://)##; s#/simple/?$##'
} | sort -u > "$work/seen" || true

# From here on in the namespaces: as root the mounts and the busy processes, then the user's commands.
# The environment is emptied in place, for the argument list of `env` is for all to see.
inside() {
    local root=$1 busy=$2 own=$3 path target name
    while read -r path; do
        [ -e "$path" ] || continue
        target=$root$path
        [ "$path" != "$own" ] || target=$root/run/pip.conf # root's home is shut
        if [ -d "$path" ]; then mkdir -p "$target"; else mkdir -p "${target%/*}" && touch "$target"; fi
        mount --bind "$path" "$target"
        mount -o remount,bind,ro "$target"
    done < "${root%/*}/seen"
    mount -t proc proc "$root/proc"
    mount -t sysfs -o ro sysfs "$root/sys"
    mount --rbind /dev "$root/dev"
    for ((; busy > 0; busy--)); do
        sh -c 'while :; do :; done' &
    done
    for name in $(compgen -e); do
        case $name in
        PATH | FEEDWATCH_TEST_FEEDS | PIP_* | *_proxy | *_PROXY) ;;
        *) unset "$name" ;;
        esac
    done
    [ ! -e "$root/run/pip.conf" ] || export PIP_CONFIG_FILE=/run/pip.conf
    export -nf inside
    export HOME=/home/someone USER=someone LOGNAME=someone LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin
    chroot "$root" setpriv --reuid someone --regid someone --init-groups --no-new-privs "${@:4}"
}
as_user() {
    local command began rc took
    cd
    git -c advice.detachedHead=false clone --quiet /srv/feedwatch.bundle feedwatch
    cd feedwatch
    for command; do
        printf '== %s\n' "$command" >&2
        began=$SECONDS rc=0
        bash -c "$command" || rc=$?
        took=$((SECONDS - began))
        printf '== %s took %d:%02d, exit status %d\n' "$command" $((took / 60)) $((took % 60)) "$rc" >&2
        [ "$rc" = 0 ] || exit "$rc"
    done
}

say "Debian $(cat "$root/etc/debian_version"), commit $("${git[@]}" rev-parse --short HEAD)," \
    "$(nproc) cores, $busy busy processes"
export -f inside
in_namespaces bash -euo pipefail -c 'inside "$@"' inside "$root" "$busy" "$own" \
    bash -euo pipefail -c "$(declare -f as_user); as_user \"\$@\"" as_user "$@"
