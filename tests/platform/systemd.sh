#!/usr/bin/env bash
# Runs as root in a machine under systemd where feedwatch is in /opt/feedwatch and its unit is
# installed but not started: installs the config as docs/install.md says, and sees the service work.
# Called a second time after a reboot, it sees the service go on.
set -euo pipefail
cd tests/platform # from the checkout's root, where it is called

UNIT=${UNIT:-feedwatch.service}
API=http://127.0.0.1:8010
CONFIG=/etc/feedwatch/config.env
KEY=/etc/credstore/feedwatch_api_key
STATE=/var/lib/feedwatch
FEED=/srv/feed
SEEN=/var/lib/feedwatch-checked # made at the end: the next call is after a reboot

step() { printf '%s\n' "--- $*"; }
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
taken() { curl -fsS "$API/_sandbox/state" | json 'd["taken"]'; }
states() { feedwatch episodes --json | json '",".join(sorted(e["state"] for e in d))'; }
states_are() { [ "$(states)" = "$1" ]; }
restarted() { [ "$(systemctl show -P NRestarts "$UNIT")" = "$1" ] && systemctl -q is-active "$UNIT"; }
said() { journalctl -b --no-pager -o cat -u "$UNIT" | grep -e "$1" > /dev/null; } # in the journal
has_status() { systemctl show -P StatusText "$UNIT" | grep -e "$1" > /dev/null; }
is_in() { [ "$(systemctl show -P SubState "$UNIT")" = "$1" ]; }
beat_since() { # is the last successful check of the feed later than that
    [[ "$(feedwatch feeds --json | json 'd[0]["last_success_at"] or ""')" > "$1" ]]
}
goes_on() { # checks that are later, by the monotonic clock, than now; the wall clock may be anywhere
    local seen; seen=$(last_check)
    eventually 60 has_moved_from "$seen"
}
last_check() { feedwatch feeds --json | json 'd[0]["last_success_at"] or ""'; }
has_moved_from() { [ "$(last_check)" != "$1" ]; }
write_config() { # write_config [FURTHER LINES]
    install -m 0640 -o root -g feedwatch-config /dev/stdin "$CONFIG" <<C
FEEDWATCH_DATABASE_URL=sqlite:///$STATE/feedwatch.db
FEEDWATCH_API_URL=$API
FEEDWATCH_CHECK_INTERVAL=1s
FEEDWATCH_POLL_INTERVAL=1s
FEEDWATCH_FIRST_RUN=latest:1
FEEDWATCH_FEEDS__SHOW__URL=http://127.0.0.1:8011/feed.xml
FEEDWATCH_FEEDS__SHOW__PODCAST_ID=podcast-1
${1-}
C
}
start_world() { # the media API's stand-in and a publisher
    systemd-run -q --unit=sandbox /opt/feedwatch/bin/feedwatch sandbox --port 8010 --job-seconds 2
    systemd-run -q --unit=publisher python3 -m http.server 8011 --bind 127.0.0.1 --directory "$FEED"
    eventually 20 curl -fs -o /dev/null "$API/_sandbox/state"
    eventually 20 curl -fs -o /dev/null http://127.0.0.1:8011/feed.xml
}

if [ -e "$SEEN" ]; then
    step "after a reboot: it runs, remembers, and submits nothing again"
    before=$(date -u +%FT%TZ)
    start_world
    eventually 90 beat_since "$before"
    states_are ready,ready,unknown || die "after the reboot: $(states)"
    [ "$(taken)" = 0 ] || die "$(taken) submissions after the reboot"
    exit 0
fi

step "install: the group, the config, the key, the command"
systemctl --version | head -1
groupadd --system feedwatch-config
install -d -m 0750 -o root -g feedwatch-config /etc/feedwatch
install -d -m 0700 /etc/credstore
printf 'sandbox-key\n' | install -m 0600 /dev/stdin "$KEY"
ln -sf /opt/feedwatch/bin/feedwatch /usr/local/bin/feedwatch
install -D -m 0644 feed.xml "$FEED/feed.xml"
write_config
start_world

step "it starts, and an episode is processed, once"
systemctl start "$UNIT"
systemctl -q is-active "$UNIT" || die "not active"
eventually 60 states_are ready,skipped
[ "$(taken)" = 1 ] || die "$(taken) submissions"
feedwatch episodes
feedwatch status
feedwatch healthcheck
eventually 30 has_status '1 feed, 0 jobs'
systemctl status --no-pager --lines 0 "$UNIT" | grep Status:

step "the journal has the level of each line, and no time within it"
journalctl -b --no-pager -o json -u "$UNIT" | python3 -c '
import json, re, sys
lines = [json.loads(line) for line in sys.stdin]
ours = {line["MESSAGE"]: line["PRIORITY"] for line in lines if line.get("_COMM") == "feedwatch"}
print(*(f"{level} {text[:90]}" for text, level in ours.items()), sep="\n")
assert any(level == "6" and "is watching 1 feed;" in text for text, level in ours.items())
assert not any(re.match(r"<\d>|20\d\d-|\{", text) for text in ours)'

step "a changed config is taken by the process that runs"
pid=$(systemctl show -P MainPID "$UNIT")
write_config "FEEDWATCH_JOB_DEADLINE=12h
FEEDWATCH_FEEDS__EXTRA__URL=http://127.0.0.1:8011/extra.xml
FEEDWATCH_FEEDS__EXTRA__PODCAST_ID=podcast-1"
systemctl reload "$UNIT"
eventually 20 said 'config: feed extra: added'
eventually 20 said 'config: FEEDWATCH_JOB_DEADLINE unset → 12h'
eventually 30 has_status '2 feeds'

step "one with mistakes is refused, and what held before holds on"
write_config FEEDWATCH_CHEK_INTERVAL=1s
systemctl reload "$UNIT"
eventually 20 said 'did you mean FEEDWATCH_CHECK_INTERVAL'
eventually 30 has_status '2 feeds.*refused'
write_config
systemctl reload "$UNIT"
eventually 20 said 'config: feed extra: removed'
[ "$(systemctl show -P MainPID "$UNIT")" = "$pid" ] || die "another process"
[ "$(taken)" = 1 ] || die "$(taken) submissions"

step "it runs as a user of its own, and nobody else reads config, key or database"
pid=$(systemctl show -P MainPID "$UNIT")
[ "$(ps -o uid= -p "$pid")" -gt 1000 ] || die "uid $(ps -o uid= -p "$pid")"
ps -o user,uid,args -p "$pid"
ls -ld "$STATE/" "$STATE"/* "$CONFIG"
[ -z "$(find -L /etc/feedwatch /etc/credstore "$STATE" -perm /o+rwx -not -type l)" ] \
    || die "open to others: $(find -L /etc/feedwatch /etc/credstore "$STATE" -perm /o+rwx)"
! journalctl -b --no-pager -u "$UNIT" | grep sandbox-key > /dev/null || die "the key is in the journal"
! tr '\0' '\n' < "/proc/$pid/environ" | grep sandbox-key > /dev/null || die "the key is in the environment"

step "the command line as root, with the key from the store"
CREDENTIALS_DIRECTORY=/etc/credstore feedwatch doctor

step "rolled back to a copy of the database, as docs/install.md says: nothing is submitted again"
python3 -c 'import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute("VACUUM INTO ?", (sys.argv[2],))' \
    "$STATE/feedwatch.db" "$STATE/before.bak"
chown --reference "$STATE/feedwatch.db" "$STATE/before.bak"
sed -i 's#^<item><title>Episode 2#<item><title>Episode 3</title><guid isPermaLink="false">episode-3</guid>\
<pubDate>'"$(date -uR)"'</pubDate>\
<enclosure url="https://media.example.com/3.mp3" length="1000" type="audio/mpeg"/></item>\
&#' "$FEED/feed.xml"
eventually 60 states_are ready,ready,skipped
systemctl stop "$UNIT"
mkdir "$STATE/newer"
mv "$STATE/feedwatch.db" "$STATE/newer/"
for file in "$STATE/feedwatch.db-wal" "$STATE/feedwatch.db-shm"; do [ ! -e "$file" ] || mv "$file" "$STATE/newer/"; done
cp -p "$STATE/before.bak" "$STATE/feedwatch.db"
feedwatch pause
systemctl start "$UNIT"
eventually 60 states_are ready,ready,skipped
said 'the journal has 1 claim that it did not know' || die "it did not notice"
feedwatch resume
before=$(date -u +%FT%TZ)
eventually 60 beat_since "$before"
states_are ready,ready,skipped || die "after the roll-back: $(states)"
[ "$(taken)" = 2 ] || die "$(taken) submissions"

step "stopped with a submission in flight: within ten seconds, and written down as in doubt"
fault='{"on": "submit", "kind": "hang_after", "seconds": 300}'
curl -fsS -o /dev/null -d "$fault" "$API/_sandbox/faults"
feedwatch retry 1 --yes
eventually 60 states_are ready,ready,submitting
began=$(date +%s%N)
systemctl stop "$UNIT"
took=$((($(date +%s%N) - began) / 1000000))
echo "stopped in $took ms: $(systemctl show -P Result "$UNIT"), episodes $(states)"
[ "$took" -lt 10000 ] || die "too slow"
[ "$(systemctl show -P Result "$UNIT")" = success ] || die "not a clean stop"
states_are ready,ready,unknown || die "not in doubt: $(states)"

step "root may write while it is stopped; the service goes on with the same files"
feedwatch pause
feedwatch resume
before=$(date -u +%FT%TZ)
systemctl start "$UNIT"
eventually 60 beat_since "$before"

step "killed: it comes back, and nothing is submitted again"
systemctl kill --signal=KILL "$UNIT"
eventually 60 restarted 1
before=$(date -u +%FT%TZ)
eventually 60 beat_since "$before"
[ "$(taken)" = 3 ] || die "$(taken) submissions"

step "it hangs: the watchdog ends the process, and the next one goes on"
began=$SECONDS
systemctl kill --signal=STOP "$UNIT"
eventually 240 is_in auto-restart
echo "noticed within $((SECONDS - began)) s"
eventually 60 restarted 2
said 'Watchdog timeout' || die "not by the watchdog"
before=$(date -u +%FT%TZ)
eventually 60 beat_since "$before"
states_are ready,ready,unknown || die "not as it was: $(states)"
[ "$(taken)" = 3 ] || die "$(taken) submissions"
feedwatch healthcheck

step "the wall clock set forward by a month, back by an hour, and right again: checks go on"
# The kernel's clock is that of all machines here, so a library moves it for the processes of ours.
restarts=$(systemctl show -P NRestarts "$UNIT")
install -m 0644 clock.so /usr/local/lib/feedwatch-clock.so
mkdir -p "/run/systemd/system/$UNIT.d"
cat > "/run/systemd/system/$UNIT.d/clock.conf" <<C
[Service]
Environment=LD_PRELOAD=/usr/local/lib/feedwatch-clock.so CLOCK_OFFSET=/run/clock-offset
C
echo 0 > /run/clock-offset
systemctl daemon-reload
systemctl restart "$UNIT"
goes_on
for offset in 2592000 -3600 0; do
    echo $offset > /run/clock-offset
    # The unit hides the id of the boot, so health is right once the daemon has noticed.
    eventually 20 env LD_PRELOAD=/usr/local/lib/feedwatch-clock.so CLOCK_OFFSET=/run/clock-offset \
        feedwatch healthcheck
    goes_on
    echo "goes on at $(last_check)"
done
[ "$(systemctl show -P NRestarts "$UNIT")" = 0 ] || die "it was restarted, after $restarts before"
rm -r "/run/systemd/system/$UNIT.d"
systemctl daemon-reload
systemctl restart "$UNIT"
[ "$(taken)" = 3 ] || die "$(taken) submissions"

step "a wrong config: the reason in the journal, and no restart"
systemctl stop "$UNIT"
write_config FEEDWATCH_CHEK_INTERVAL=1s
! systemctl start "$UNIT" 2>/dev/null || die "it started"
[ "$(systemctl show -P ExecMainStatus "$UNIT")" = 2 ] || die "another status"
[ "$(systemctl show -P ActiveState "$UNIT")" = failed ] || die "it is being restarted"
journalctl -b --no-pager -o cat -u "$UNIT" | grep 'did you mean FEEDWATCH_CHECK_INTERVAL'

step "the key in the config instead of the store, and in neither"
write_config FEEDWATCH_API_KEY=sandbox-key
mv "$KEY" "$KEY.away"
systemctl start "$UNIT"
systemctl stop "$UNIT"
write_config
! systemctl start "$UNIT" 2>/dev/null || die "it started without a key"
[ "$(systemctl show -P ExecMainStatus "$UNIT")" = 2 ] || die "without a key: another status"
journalctl -b --no-pager -o cat -u "$UNIT" | grep 'FEEDWATCH_API_KEY is missing'
mv "$KEY.away" "$KEY"
systemctl start "$UNIT"

systemd-analyze security --no-pager "$UNIT" | tail -1
touch "$SEEN"
