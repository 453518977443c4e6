#!/usr/bin/env bash
# Runs as root from the checkout's root, with `docker` on PATH, the image's name in IMAGE, and a
# loopback network of its own: runs the image as docs/install.md says, and sees it work.
set -euo pipefail
cd tests/platform

API=http://127.0.0.1:8010
WORK=$(mktemp -d)
MOUNTS=(-v "$WORK/config.env:/etc/feedwatch/config.env:ro" -v feedwatch-data:/var/lib/feedwatch
    -v feedwatch-claims:/var/cache/feedwatch -v "$WORK/key:/run/secrets/feedwatch_api_key:ro")
TIGHT=(--read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges)

step() { printf '%s\n' "--- $*"; }
die() { printf 'FAILED: %s\n' "$*"; exit 1; }
remove_all() {
    docker rm -f feedwatch sandbox publisher > /dev/null 2>&1 || true
    docker volume rm -f feedwatch-data feedwatch-claims > /dev/null || true
}
finish() {
    local rc=$?
    [ $rc = 0 ] || docker logs --tail 40 feedwatch || true
    remove_all
    rm -rf "$WORK"
    exit $rc
}
trap finish EXIT
remove_all # a run that was killed leaves its volumes

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
feedwatch() { docker exec feedwatch feedwatch "$@"; }
taken() { curl -fsS "$API/_sandbox/state" | json 'd["taken"]'; }
states() { feedwatch episodes --json | json '",".join(sorted(e["state"] for e in d))'; }
states_are() { [ "$(states)" = "$1" ]; }
beat_since() { [[ "$(feedwatch feeds --json | json 'd[0]["last_success_at"] or ""')" > "$1" ]]; }
health() { docker inspect -f '{{.State.Health.Status}}' feedwatch; }
looks() { docker inspect -f '{{range .State.Health.Log}}{{.End}} {{end}}' feedwatch; }
has_been_looked_at_since() { [ "$(looks)" != "$1" ]; }
health_is() { [ "$(health)" = "$1" ]; }
logged() { docker logs feedwatch 2>&1 | grep -e "$1" > /dev/null; }
last_check() { feedwatch feeds --json | json 'd[0]["last_success_at"] or ""'; }
has_moved_from() { [ "$(last_check)" != "$1" ]; }
# start [OPTIONS OF docker run]
start() { docker run -d --name feedwatch --network host "${TIGHT[@]}" "${MOUNTS[@]}" "$@" "$IMAGE" > /dev/null; }
stop() { # within ten seconds, with status 0
    local began=$SECONDS
    docker stop -t 10 feedwatch > /dev/null
    echo "stopped in about $((SECONDS - began)) s, status $(docker inspect -f '{{.State.ExitCode}}' feedwatch)"
    [ "$(docker inspect -f '{{.State.ExitCode}}' feedwatch)" = 0 ] || die "not a clean stop"
}

step "the image"
docker image inspect -f 'user {{.Config.User}}, stop {{.Config.StopSignal}}, volumes {{.Config.Volumes}}, {{.Size}} bytes' "$IMAGE"
docker run --rm "${TIGHT[@]}" "$IMAGE" --version

step "config and key are the container user's alone"
cat > "$WORK/config.env" <<C
FEEDWATCH_DATABASE_URL=sqlite:////var/lib/feedwatch/feedwatch.db
FEEDWATCH_API_URL=$API
FEEDWATCH_CHECK_INTERVAL=1s
FEEDWATCH_POLL_INTERVAL=1s
FEEDWATCH_FIRST_RUN=latest:1
FEEDWATCH_FEEDS__SHOW__URL=http://127.0.0.1:8011/feed.xml
FEEDWATCH_FEEDS__SHOW__PODCAST_ID=podcast-1
C
echo sandbox-key > "$WORK/key"
chown 10001 "$WORK/config.env" "$WORK/key"
chmod 0400 "$WORK/config.env" "$WORK/key"

step "it starts, and an episode is processed, once"
docker run -d --name sandbox --network host "${TIGHT[@]}" "$IMAGE" sandbox --port 8010 --job-seconds 2 > /dev/null
docker run -d --name publisher --network host "${TIGHT[@]}" -v "$PWD:/feed:ro" --entrypoint python "$IMAGE" \
    -m http.server 8011 --bind 127.0.0.1 --directory /feed > /dev/null
eventually 20 curl -fs -o /dev/null "$API/_sandbox/state"
eventually 20 curl -fs -o /dev/null http://127.0.0.1:8011/feed.xml
start
eventually 60 states_are ready,skipped
[ "$(taken)" = 1 ] || die "$(taken) submissions"
feedwatch episodes
feedwatch status
feedwatch doctor
feedwatch healthcheck
eventually 120 health_is healthy

step "a changed config is taken by the container that runs"
echo FEEDWATCH_JOB_DEADLINE=12h >> "$WORK/config.env"
docker kill -s HUP feedwatch > /dev/null
eventually 20 logged 'config: FEEDWATCH_JOB_DEADLINE unset → 12h'

step "non-root, and nothing can be written but the volumes and /tmp"
[ "$(docker exec feedwatch id -u)" = 10001 ] || die "uid $(docker exec feedwatch id -u)"
! docker exec feedwatch touch /opt/feedwatch/x 2>/dev/null || die "the root can be written"
docker exec feedwatch ls -la /var/lib/feedwatch /var/cache/feedwatch
! docker logs feedwatch 2>&1 | grep sandbox-key > /dev/null || die "the key is in the log"
! docker inspect feedwatch | grep sandbox-key > /dev/null || die "the key is in the container's settings"

step "one that hangs is unhealthy"
began=$SECONDS
docker kill -s STOP feedwatch > /dev/null
eventually 300 health_is unhealthy
echo "unhealthy after $((SECONDS - began)) s: $(feedwatch healthcheck 2>&1)"
docker rm -f feedwatch > /dev/null
start
eventually 60 states_are ready,skipped
eventually 60 feedwatch healthcheck
[ "$(taken)" = 1 ] || die "$(taken) submissions"

step "stopped with a submission in flight: written down as in doubt"
fault='{"on": "submit", "kind": "hang_after", "seconds": 300}'
curl -fsS -o /dev/null -d "$fault" "$API/_sandbox/faults"
feedwatch retry 1 --yes
eventually 60 states_are ready,submitting
stop

step "another container with the same volume goes on where that one ended"
docker rm feedwatch > /dev/null
before=$(date -u +%FT%TZ)
start
eventually 60 beat_since "$before"
states_are ready,unknown || die "not in doubt: $(states)"
[ "$(taken)" = 2 ] || die "$(taken) submissions"
stop

step "the wall clock set forward by a month, back by an hour, and right again: checks go on"
docker rm feedwatch > /dev/null
mkdir "$WORK/clock"
cp clock.so "$WORK/clock/"
echo 0 > "$WORK/clock/offset"
start -v "$WORK/clock:/clock:ro" -e LD_PRELOAD=/clock/clock.so -e CLOCK_OFFSET=/clock/offset
eventually 60 feedwatch healthcheck
for offset in 2592000 -3600 0; do
    echo $offset > "$WORK/clock/offset"
    feedwatch healthcheck
    seen=$(last_check)
    eventually 60 has_moved_from "$seen"
    feedwatch healthcheck
    echo "goes on at $(last_check)"
done
[ "$(taken)" = 2 ] || die "$(taken) submissions"
stop

step "with a tenth of a core: it stays healthy, and an episode is processed"
docker rm feedwatch > /dev/null
docker volume rm feedwatch-data feedwatch-claims > /dev/null # a first start, which has the most to do
began=$SECONDS
start --cpus 0.1
eventually 300 health_is healthy
eventually 300 logged '→ ready' # a command in the container would take its share of the core
echo "processed after $((SECONDS - began)) s"
for _ in 1 2 3 4; do # healthchecks, 30 s apart
    seen=$(looks)
    eventually 120 has_been_looked_at_since "$seen"
    health_is healthy || die "$(health)"
done
stop

step "a config that it may not read, and one that is wrong: status 2, and the reason"
docker rm feedwatch > /dev/null
chown 0 "$WORK/config.env"
! docker run --rm "${TIGHT[@]}" "${MOUNTS[@]}" "$IMAGE" 2> "$WORK/said" || die "it started"
cat "$WORK/said"
chown 10001 "$WORK/config.env"
echo FEEDWATCH_CHEK_INTERVAL=1s >> "$WORK/config.env"
rc=0
docker run --rm "${TIGHT[@]}" "${MOUNTS[@]}" "$IMAGE" 2> "$WORK/said" || rc=$?
[ $rc = 2 ] || die "status $rc"
grep 'did you mean FEEDWATCH_CHECK_INTERVAL' "$WORK/said"
