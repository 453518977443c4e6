#!/usr/bin/env bash
# Runs the checks beside this file where they must be run: under a real systemd, a real Docker
# engine. What boots those is not part of this project: PLATFORM is a folder with systemd-run.sh and
# container-run.sh, each of which takes the checkout and a check script.
#
#   PLATFORM=/path/to/folder tests/platform/verify.sh [systemd] [deb] [container] [compose] [cluster]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
: "${PLATFORM:?is the folder of systemd-run.sh and container-run.sh}"
[ $# -gt 0 ] || set -- systemd deb container compose

cc -shared -fPIC -o tests/platform/clock.so tests/clock.c # it moves the clock of a process
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# checkout FILE: a copy with this compose file, which wants config and key beside it; a checkout may
# have real ones.
checkout() {
    local copy=$work/${1%.yaml}
    mkdir -p "$copy/tests"
    cp -r Dockerfile .dockerignore "$1" pyproject.toml requirements README.md LICENSE feedwatch "$copy"
    cp -r tests/platform "$copy/tests"
    echo sandbox-key > "$copy/feedwatch_api_key.txt"
    echo "$copy"
}
# give FOLDER FILES...: to the container's user alone
give() { (cd "$1" && shift && chown 10001 "$@" && chmod 0400 "$@"); }

for what; do
    echo "== $what"
    case $what in
    systemd)
        "$PLATFORM/systemd-run.sh" --no-start --max-exposure 1.5 \
            --unit systemd/feedwatch-once.service --unit systemd/feedwatch-once.timer \
            --after-reboot tests/platform/systemd.sh . systemd/feedwatch.service tests/platform/systemd.sh
        ;;
    deb)
        rm -f dist/feedwatch_*.deb
        make --silent deb
        now=$(echo dist/feedwatch_*.deb)
        if command -v lintian > /dev/null; then lintian --allow-root --fail-on error,warning "$now"; fi
        # The one that is upgraded: the same with a lower version.
        dpkg-deb --raw-extract "$now" "$work/before"
        sed -i 's/^Version: .*/Version: 0.0.1/' "$work/before/DEBIAN/control"
        dpkg-deb -Znone --build "$work/before" "$work/before.deb" > /dev/null
        "$PLATFORM/systemd-run.sh" --install tests/platform/deb-world.sh \
            --file "$work/before.deb:/srv/before.deb" --file "$now:/srv/now.deb" \
            tests/platform tests/platform/publisher.service tests/platform/deb.sh
        ;;
    container)
        "$PLATFORM/container-run.sh" --tag feedwatch:check --no-run . tests/platform/container.sh
        ;;
    compose)
        copy=$(checkout compose.yaml)
        cat > "$copy/config.env" <<C
FEEDWATCH_DATABASE_URL=sqlite:////var/lib/feedwatch/feedwatch.db
FEEDWATCH_API_URL=http://127.0.0.1:8010
FEEDWATCH_CHECK_INTERVAL=1s
FEEDWATCH_POLL_INTERVAL=1s
FEEDWATCH_FIRST_RUN=latest:1
FEEDWATCH_FEEDS__SHOW__URL=http://127.0.0.1:8011/feed.xml
FEEDWATCH_FEEDS__SHOW__PODCAST_ID=podcast-1
C
        give "$copy" config.env feedwatch_api_key.txt
        "$PLATFORM/container-run.sh" --compose "$copy/compose.yaml" "$copy" tests/platform/compose.sh
        ;;
    cluster)
        copy=$(checkout compose.cluster.yaml)
        database=$(sed -n 's/.* \(FEEDWATCH_DATABASE_URL=.*\)/\1/p' compose.cluster.yaml)
        cat > "$copy/config.env" <<C
$database
FEEDWATCH_API_URL=http://sandbox:8010
FEEDWATCH_CHECK_INTERVAL=1m
FEEDWATCH_FIRST_RUN=latest:1
FEEDWATCH_FEEDS__SHOW__URL=http://publisher:8011/feed.xml
FEEDWATCH_FEEDS__SHOW__PODCAST_ID=podcast-1
C
        echo database-password > "$copy/database_password.txt"
        echo db:5432:feedwatch:feedwatch:database-password > "$copy/pgpass.txt"
        give "$copy" config.env feedwatch_api_key.txt pgpass.txt
        chmod 0400 "$copy/database_password.txt"
        image=$(sed -n 's/^ *image: \(postgres:.*\)/\1/p' compose.cluster.yaml)
        "$PLATFORM/container-run.sh" --tag "$image" --dockerfile tests/platform/postgres/Dockerfile --no-run tests/platform/postgres
        "$PLATFORM/container-run.sh" --wait 180 --stop-timeout 30 --any-exit \
            --compose "$copy/compose.cluster.yaml" "$copy" tests/platform/cluster.sh
        ;;
    *)
        echo "unknown: $what" >&2
        exit 2
        ;;
    esac
done
