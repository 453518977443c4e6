#!/usr/bin/env bash
# The Debian package of `make deb`: the program and its locked dependencies in /usr/lib/feedwatch, a virtual
# environment of Debian 12's own Python. The same sources and SOURCE_DATE_EPOCH give the same bytes.
#
#   VERSION=0.1.0 SOURCE_DATE_EPOCH=1796083200 packaging/debian/build.sh → dist/feedwatch_0.1.0_ARCHITECTURE.deb
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
umask 022
: "${VERSION:?is what `make version` prints}"
PYTHON=${DEB_PYTHON:-/usr/bin/python3.11}
"$PYTHON" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 11))' 2> /dev/null || {
    echo "make deb builds for Debian 12's Python, and $PYTHON is not it: apt install python3-venv, on Debian 12" >&2
    exit 1
}
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:?is the time that all files get: git log -1 --format=%ct}
# A version of Python's, 1.0.dev1 or 1.0rc1, as Debian sorts it: before 1.0.
version=$(sed -E 's/\.?(dev|a|b|rc)([0-9]+)$/~\1\2/' <<< "$VERSION")
architecture=$(dpkg --print-architecture)
here=packaging/debian work=build/deb
home=/usr/lib/feedwatch packages=/usr/lib/feedwatch/lib/python3.11/site-packages
pip() { "$work/tools/bin/python" -m pip --quiet --disable-pip-version-check "$@"; }

# What it depends on, once for each lock.
locks=(requirements/build.txt requirements/postgres.txt requirements/notify.txt)
if ! (sha256sum --check --status "$work/locks") 2> /dev/null; then
    rm -rf "$work"
    "$PYTHON" -m venv "$work/tools"
    pip install --require-hashes -r requirements/build.txt
    pip install --require-hashes --no-compile --target "$work/site" \
        -r requirements/postgres.txt -r requirements/notify.txt
    # Commands of libraries are of no use here; their first lines, and so their hashes, name this folder.
    rm -rf "$work/site/bin"
    sed -i '\#^\.\./\.\./bin/#d' "$work/site"/*.dist-info/RECORD
    find "$work/site" \( -name '*.c' -o -name '*.pyx' -o -name '*.h' \) -delete
    sha256sum "${locks[@]}" > "$work/locks"
fi

root=$work/root
rm -rf "$root" "$work/wheel"
mkdir -p "$root$packages" "$root$home/bin" "$root/usr/bin" "$root/DEBIAN"
cp -a "$work/site/." "$root$packages"
pip wheel --no-deps --no-build-isolation --no-cache-dir --wheel-dir "$work/wheel" .
# By --find-links, for a wheel's own path would be written down with what it was installed from.
pip install --no-deps --no-index --find-links "$work/wheel" --no-compile --target "$root$packages" feedwatch
rm -r "${root:?}$packages/bin"
sed -i '\#^\.\./\.\./bin/#d' "$root$packages"/feedwatch-*.dist-info/RECORD
find "$root$packages" -type f -exec chmod 0644 {} +

ln -s ../../../bin/python3.11 "$root$home/bin/python"
printf 'home = /usr/bin\ninclude-system-site-packages = false\n' > "$root$home/pyvenv.cfg"
install -m 0755 /dev/stdin "$root$home/bin/feedwatch" << P
#!$home/bin/python
import sys

from feedwatch.cli.app import main

sys.exit(main())
P
ln -s ../lib/feedwatch/bin/feedwatch "$root/usr/bin/feedwatch"

# The units of docs/install.md, with the path that is another one here.
for unit in systemd/*; do
    sed 's#/opt/feedwatch/bin/feedwatch#/usr/bin/feedwatch#' "$unit" |
        install -D -m 0644 /dev/stdin "$root/lib/systemd/system/${unit##*/}"
done
# The example, with the service's database, and without the key and the feed that are only examples.
sed -E -e 's|^#(FEEDWATCH_DATABASE_URL=sqlite:///).*|\1/var/lib/feedwatch/feedwatch.db|' \
    -e 's/^(FEEDWATCH_(API_KEY|FEEDS__SHOW__[A-Z_]+)=)/#\1/' config.example.env |
    install -D -m 0644 /dev/stdin "$root/usr/share/feedwatch/config.env"

# shell NAME PATH: completion for it, by the program itself
shell() {
    mkdir -p "$root${2%/*}"
    PYTHONPATH=$root$packages PYTHONDONTWRITEBYTECODE=1 _FEEDWATCH_COMPLETE=${1}_source \
        "$work/tools/bin/python" "$root$home/bin/feedwatch" > "$root$2"
}
shell bash /usr/share/bash-completion/completions/feedwatch
shell zsh /usr/share/zsh/vendor-completions/_feedwatch
shell fish /usr/share/fish/vendor_completions.d/feedwatch.fish
mkdir -p "$root/usr/share/man/man1"
gzip -9n < build/feedwatch.1 > "$root/usr/share/man/man1/feedwatch.1.gz"

doc=$root/usr/share/doc/feedwatch
mkdir -p "$doc"
cp -r README.md CHANGELOG.md config.example.env docs "$doc"
when=$(date --utc --rfc-email --date "@$SOURCE_DATE_EPOCH")
maintainer=$(sed -n 's/^Maintainer: //p' $here/control.in)
gzip -9n > "$doc/changelog.gz" << C
feedwatch ($version) stable; urgency=medium

  * What is new is in CHANGELOG.md beside this file.

 -- $maintainer  $when
C
sed -n 's/^Copyright (c) /Copyright: /p' LICENSE > "$work/license"
{ echo 'License: MIT'; sed -e '1,/^Copyright/d' LICENSE | sed -e '1{/^$/d}' -e 's/^$/./' -e 's/^/ /'; } >> "$work/license"
sed -e "/^@LICENSE@\$/{r $work/license" -e 'd}' $here/copyright > "$doc/copyright"
install -D -m 0644 $here/lintian-overrides "$root/usr/share/lintian/overrides/feedwatch"

install -m 0755 $here/postinst $here/prerm $here/postrm "$root/DEBIAN"
size=$(du --apparent-size -sk --exclude DEBIAN "$root" | cut -f1)
sed -e "s/@VERSION@/$version/" -e "s/@ARCHITECTURE@/$architecture/" -e "s/@SIZE@/$size/" \
    $here/control.in > "$root/DEBIAN/control"
(cd "$root" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | LC_ALL=C sort -z | xargs -0 md5sum > DEBIAN/md5sums)
find "$root" -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +

mkdir -p dist
package=dist/feedwatch_${version}_$architecture.deb
dpkg-deb --root-owner-group -Zxz --build "$root" "$package" > /dev/null
echo "$package: $(du -h "$package" | cut -f1), installed $((size / 1024)) MB"
