#!/usr/bin/env bash
# Runs as root from the checkout's root while the services of compose.cluster.yaml are up, with
# `docker` on PATH and `docker-compose …` in COMPOSE: kills the leader, and sees the other one lead.
# verify.sh writes the config.
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
id_of() { $COMPOSE ps -q "$1"; }
feedwatch() { local daemon=$1; shift; docker exec "$(id_of "$daemon")" feedwatch "$@"; }
database() { docker exec "$(id_of db)" psql --username=feedwatch --no-align --tuples-only --command "$1"; }
leader() { database "SELECT split_part(holder, '/', 1) FROM leaders WHERE until > now()"; }
other() { [ "$1" = feedwatch-a ] && echo feedwatch-b || echo feedwatch-a; }
leads() { [ "$(leader)" = "$1" ]; }
somebody_leads() { [ -n "$(leader)" ]; }
states_are() { [ "$(feedwatch "$1" episodes --json | json '",".join(sorted(e["state"] for e in d))')" = "$2" ]; }
is_healthy() { feedwatch "$1" healthcheck; }
taken() { docker exec sandbox python -c 'import json, urllib.request
print(json.load(urllib.request.urlopen("http://127.0.0.1:8010/_sandbox/state"))["taken"])'; }
taken_is() { [ "$(taken)" = "$1" ]; }

network=$(docker inspect -f '{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}' "$(id_of db)")
image=$(docker inspect -f '{{.Image}}' "$(id_of feedwatch-a)")
# The media API's stand-in and a publisher, in the daemons' network.
trap 'docker rm -f sandbox publisher > /dev/null' EXIT
docker run -d --name sandbox --network "$network" --entrypoint python "$image" -c 'from threading import Event
from feedwatch.sandbox.server import Sandbox
Sandbox(host="0.0.0.0", port=8010, allow_remote=True).start()
Event().wait()' > /dev/null
docker run -d --name publisher --network "$network" -v "$PWD:/feed:ro" --entrypoint python "$image" \
    -m http.server 8011 --directory /feed > /dev/null

echo "--- both run, and one leads"
eventually 60 somebody_leads
for daemon in feedwatch-a feedwatch-b; do eventually 120 is_healthy "$daemon"; done
first=$(leader)
second=$(other "$first")
echo "$first leads"
eventually 300 states_are "$second" ready,skipped # the first check was before the publisher was there
taken_is 1 || die "$(taken) submissions"
feedwatch "$second" status

echo "--- the leader is killed: the other one leads, and goes on"
docker kill "$(id_of "$first")" > /dev/null
began=$SECONDS
eventually 60 leads "$second"
echo "$second leads after about $((SECONDS - began)) s"
feedwatch "$second" retry --again 1 --yes
eventually 120 taken_is 2
eventually 120 states_are "$second" ready,skipped
eventually 30 is_healthy "$second"

echo "--- it comes back, and does not lead"
docker start "$(id_of "$first")" > /dev/null
eventually 120 is_healthy "$first"
leads "$second" || die "$(leader) leads"
taken_is 2 || die "$(taken) submissions"

echo "--- the leader is stopped: the lease is handed over at once"
began=$SECONDS
docker stop -t 15 "$(id_of "$second")" > /dev/null
eventually 15 leads "$first"
echo "$first leads after about $((SECONDS - began)) s"
docker start "$(id_of "$second")" > /dev/null

for daemon in feedwatch-a feedwatch-b; do
    [ "$(docker inspect -f '{{.HostConfig.ReadonlyRootfs}}' "$(id_of $daemon)")" = true ] || die "the root can be written"
    ! docker inspect "$(id_of $daemon)" | grep -e sandbox-key -e database-password > /dev/null || die "a secret is in the settings"
    ! docker logs "$(id_of $daemon)" 2>&1 | grep -e sandbox-key -e database-password > /dev/null || die "a secret is in the log"
done
