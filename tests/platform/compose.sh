#!/usr/bin/env bash
# Runs as root from the checkout's root while the services of compose.yaml are up, with `docker` on
# PATH and `docker-compose …` in COMPOSE: sees the service work. verify.sh writes its config.
set -euo pipefail
cd tests/platform

die() { printf 'FAILED: %s\n' "$*"; exit 1; }
# eventually SECONDS COMMAND...: until it succeeds
eventually() {
    local end=$((SECONDS + $1)); shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || die "in vain: $*"
        sleep 0.2
    done
}
# json EXPRESSION: what it says of the document d on standard input
json() { python3 -c "import json, sys; d = json.load(sys.stdin); print($1)"; }
feedwatch() { docker exec "$service" feedwatch "$@"; }
states_are() { [ "$(feedwatch episodes --json | json '",".join(sorted(e["state"] for e in d))')" = "$1" ]; }

service=$($COMPOSE ps -q feedwatch)
image=$(docker inspect -f '{{.Image}}' "$service")
# The media API's stand-in and a publisher, on the service's own loopback.
trap 'docker rm -f sandbox publisher > /dev/null' EXIT
docker run -d --name sandbox --network "container:$service" "$image" sandbox --port 8010 --job-seconds 2 > /dev/null
docker run -d --name publisher --network "container:$service" -v "$PWD:/feed:ro" --entrypoint python "$image" \
    -m http.server 8011 --bind 127.0.0.1 --directory /feed > /dev/null
eventually 120 states_are ready,skipped
feedwatch episodes
feedwatch status
feedwatch healthcheck
[ "$(docker inspect -f '{{.HostConfig.ReadonlyRootfs}}' "$service")" = true ] || die "the root can be written"
! docker inspect "$service" | grep sandbox-key > /dev/null || die "the key is in the container's settings"
