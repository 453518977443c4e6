#!/usr/bin/env bash
# Runs the checks beside this file where they must be run: under a real systemd, a real Docker
# engine. What boots those is not part of this project: PLATFORM is a folder with systemd-run.sh and
# container-run.sh, each of which takes the checkout and a check script.
#
#   PLATFORM=/path/to/folder tests/platform/verify.sh [systemd] [container] [compose]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
: "${PLATFORM:?is the folder of systemd-run.sh and container-run.sh}"
[ $# -gt 0 ] || set -- systemd container compose

cc -shared -fPIC -o tests/platform/clock.so tests/clock.c # it moves the clock of a process
for what; do
    echo "== $what"
    case $what in
    systemd)
        "$PLATFORM/systemd-run.sh" --no-start --max-exposure 1.5 \
            --after-reboot tests/platform/systemd.sh . systemd/feedwatch.service tests/platform/systemd.sh
        ;;
    container)
        "$PLATFORM/container-run.sh" --tag feedwatch:check --no-run . tests/platform/container.sh
        ;;
    compose)
        # compose.yaml wants config and key beside it, and a checkout may have real ones.
        copy=$(mktemp -d)
        trap 'rm -rf "$copy"' EXIT
        mkdir -p "$copy/tests"
        cp -r Dockerfile .dockerignore compose.yaml pyproject.toml requirements README.md LICENSE feedwatch "$copy"
        cp -r tests/platform "$copy/tests"
        cat > "$copy/config.env" <<C
FEEDWATCH_DATABASE_URL=sqlite:////var/lib/feedwatch/feedwatch.db
FEEDWATCH_API_URL=http://127.0.0.1:8010
FEEDWATCH_CHECK_INTERVAL=1s
FEEDWATCH_POLL_INTERVAL=1s
FEEDWATCH_FIRST_RUN=latest:1
FEEDWATCH_FEEDS__SHOW__URL=http://127.0.0.1:8011/feed.xml
FEEDWATCH_FEEDS__SHOW__PODCAST_ID=podcast-1
C
        echo sandbox-key > "$copy/feedwatch_api_key.txt"
        chown 10001 "$copy/config.env" "$copy/feedwatch_api_key.txt"
        chmod 0400 "$copy/config.env" "$copy/feedwatch_api_key.txt"
        "$PLATFORM/container-run.sh" --compose "$copy/compose.yaml" "$copy" tests/platform/compose.sh
        ;;
    *)
        echo "unknown: $what" >&2
        exit 2
        ;;
    esac
done
