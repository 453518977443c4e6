#!/usr/bin/env bash
# Runs as root in a bare Debian 12 under systemd, with the packages before.deb and now.deb in /srv and a
# publisher that serves /srv/feed: installs, upgrades, removes and purges feedwatch, and has the timer run it.
set -euo pipefail

API=http://127.0.0.1:8010
CONFIG=/etc/feedwatch/config.env
STATE=/var/lib/feedwatch
JOURNAL=/var/cache/feedwatch/claims

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
is() { [ "$(systemctl show -P "$2" "$1")" = "$3" ]; } # is UNIT PROPERTY VALUE
installed() { dpkg-query -W -f '${Version}' feedwatch; }
publish() { # publish NUMBER: an episode more
    sed -i 's#^<item><title>Episode 2#<item><title>Episode '"$1"'</title><guid isPermaLink="false">episode-'"$1"'</guid>\
<pubDate>'"$(date -uR)"'</pubDate>\
<enclosure url="https://media.example.com/'"$1"'.mp3" length="1000" type="audio/mpeg"/></item>\
&#' /srv/feed/feed.xml
}
start_sandbox() {
    systemd-run -q --unit=sandbox feedwatch sandbox --port 8010 --job-seconds "$1"
    eventually 30 curl -fs -o /dev/null "$API/_sandbox/state"
}

step "installed: enabled, and not started before the config is written"
dpkg --install /srv/before.deb
before=$(installed)
is feedwatch.service ActiveState inactive || die "it was started"
systemctl -q is-enabled feedwatch.service || die "not enabled"
! systemctl -q is-enabled feedwatch-once.timer || die "the timer is enabled"
[ "$(stat -c '%a %U %G' $CONFIG)" = "640 root feedwatch-config" ] || die "$(stat -c '%a %U %G' $CONFIG)"
[ -z "$(systemctl --failed --quiet --plain)" ] || die "failed: $(systemctl --failed)"
for unit in feedwatch.service feedwatch-once.service feedwatch-once.timer; do
    said=$(systemd-analyze verify --man=no --recursive-errors=no $unit 2>&1) || die "$said"
    ! grep -F $unit <<< "$said" || die "systemd-analyze verify $unit"
done
systemd-analyze security --no-pager --threshold=15 feedwatch-once.service | tail -1
missing=$(find /usr/lib/feedwatch -name '*.so*' -exec ldd {} + 2>/dev/null | grep 'not found' || true)
[ -z "$missing" ] || die "$missing"
[ -n "$(find /usr/lib/feedwatch -name '*.pyc' -print -quit)" ] || die "not compiled"
feedwatch --version
zcat /usr/share/man/man1/feedwatch.1.gz > /dev/null
bash -n /usr/share/bash-completion/completions/feedwatch
for file in /usr/share/zsh/vendor-completions/_feedwatch /usr/share/fish/vendor_completions.d/feedwatch.fish; do
    [ -s "$file" ] || die "$file is empty"
done
! feedwatch check || die "a config without a key was taken"

step "the config is written, and an episode is processed"
cat >> $CONFIG <<C
# written by an operator
FEEDWATCH_API_KEY=sandbox-key
FEEDWATCH_API_URL=$API
FEEDWATCH_CHECK_INTERVAL=1s
FEEDWATCH_POLL_INTERVAL=1s
FEEDWATCH_FIRST_RUN=latest:1
FEEDWATCH_FEEDS__SHOW__URL=http://127.0.0.1:8011/feed.xml
FEEDWATCH_FEEDS__SHOW__PODCAST_ID=podcast-1
C
start_sandbox 20
systemctl start feedwatch
eventually 60 states_are processing,skipped

step "upgraded while a job runs: config and database stay, the job ends, nothing is paid for twice"
edited=$(sha256sum $CONFIG)
pid=$(systemctl show -P MainPID feedwatch)
DEBIAN_FRONTEND=noninteractive dpkg --install /srv/now.deb < /dev/null
[ "$(installed)" != "$before" ] || die "still $before"
[ "$(sha256sum $CONFIG)" = "$edited" ] || die "another config"
is feedwatch.service ActiveState active || die "not running after the upgrade"
[ "$(systemctl show -P MainPID feedwatch)" != "$pid" ] || die "the old process still runs"
is feedwatch.service Result success || die "not a clean stop"
eventually 60 states_are ready,skipped
[ "$(taken)" = 1 ] || die "$(taken) submissions"

step "stopped by somebody, it is not started by an upgrade"
systemctl stop feedwatch
dpkg --install /srv/now.deb
is feedwatch.service ActiveState inactive || die "it was started"

step "the timer in the daemon's place: a round, and what waits for somebody is no failure"
publish 3
systemctl disable -q feedwatch
mkdir -p /etc/systemd/system/feedwatch-once.timer.d
printf '[Timer]\nOnCalendar=\nOnActiveSec=1s\nRandomizedDelaySec=0\nAccuracySec=100ms\n' \
    > /etc/systemd/system/feedwatch-once.timer.d/soon.conf
systemctl daemon-reload
systemctl enable -q --now feedwatch-once.timer
eventually 90 states_are ready,ready,skipped
eventually 30 is feedwatch-once.service ActiveState inactive
[ "$(taken)" = 2 ] || die "$(taken) submissions"
publish 4; publish 5; publish 6; publish 7; publish 8; publish 9
systemctl start feedwatch-once.service || die "what is held is a failure of the unit"
is feedwatch-once.service ExecMainStatus 4 || die "status $(systemctl show -P ExecMainStatus feedwatch-once)"
is feedwatch-once.service Result success || die "a failure"
rm -r /etc/systemd/system/feedwatch-once.timer.d
systemctl daemon-reload
was=$(ls -ln $STATE/feedwatch.db | cut -d' ' -f3)

step "the daemon again, with the same files"
systemctl disable -q --now feedwatch-once.timer
systemctl enable -q --now feedwatch
[ "$(ls -ln $STATE/feedwatch.db | cut -d' ' -f3)" = "$was" ] || die "another owner"
eventually 30 feedwatch healthcheck
[ "$(taken)" = 2 ] || die "$(taken) submissions"

step "removed: it ends, and config, database and journal of claims stay"
systemctl stop sandbox
dpkg --remove feedwatch
! pgrep -f 'feedwatch --config' || die "it still runs"
[ ! -e /usr/bin/feedwatch ] && [ ! -e /usr/lib/feedwatch ] || die "left: $(find /usr/lib/feedwatch)"
for file in $CONFIG $STATE/feedwatch.db $JOURNAL; do [ -s "$file" ] || die "$file is gone"; done

step "installed again: everything is known, nothing is submitted again"
dpkg --install /srv/now.deb
[ "$(sha256sum $CONFIG)" = "$edited" ] || die "another config"
start_sandbox 1
systemctl start feedwatch
eventually 30 feedwatch healthcheck
states_are held,held,held,held,held,held,ready,ready,skipped || die "$(states)"
[ "$(taken)" = 0 ] || die "$(taken) submissions"

step "purged: nothing is left"
systemctl stop sandbox
dpkg --purge feedwatch
left=$(find /etc /usr /var /lib/systemd -xdev -name '*feedwatch*' ! -path '/var/log/journal/*' ! -path '/usr/src/*' || true)
[ -z "$left" ] || die "left: $left"
! getent group feedwatch-config || die "the group is left"
[ -z "$(systemctl --failed --quiet --plain)" ] || die "failed: $(systemctl --failed)"
