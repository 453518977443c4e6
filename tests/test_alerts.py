"""The outbox and the loop that empties it: what is told, to whom, how often, whatever happens."""

import base64
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from feedwatch.cli.assembly import notify_channels
from feedwatch.cli.settings import channel_names
from feedwatch.config.load import load
from feedwatch.core import episode_lifecycle, job_lifecycle
from feedwatch.core.daemons import DIFFERS_FOR, Daemon
from feedwatch.core.episode import State
from feedwatch.core.events import Event
from feedwatch.core.job import Accepted, Unknown
from feedwatch.net.client import Cancellation, client
from feedwatch.notify import Channel
from feedwatch.notify import webhook as webhook_module
from feedwatch.notify.alert_rules import CALM
from feedwatch.notify.command import Command
from feedwatch.notify.webhook import Webhook
from feedwatch.sandbox.faults import Fault
from feedwatch.store.errors import StoreError
from feedwatch.store.outbox import OutboxEntry
from feedwatch.watcher.alerts import GIVEN_UP_AFTER, RETRY_AT_LEAST_EVERY, Alerts
from feedwatch.watcher.tasks import polled_task
from tests.receiver import Receiver
from tests.support import KEY, LONG, Beside, Feedwatch, Workspace, item, wait_for
from tests.test_store import claim
from tests.test_trouble import locked
from tests.world import World, world

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Told:
    """A world with someone to tell."""

    def __init__(self, world: World, receiver: Receiver) -> None:
        self.world = world
        self.receiver = receiver
        self.cancellation = Cancellation()
        self.http = client(self.cancellation)
        self.webhook = Webhook(http=self.http, url=receiver.url, secret=b"x" * 24)
        self.alerts = Alerts(world.context, [], Cancellation())
        self.by(self.webhook)

    def by(self, *channels: Channel) -> None:
        """A new process, with these channels."""
        self.alerts.close()
        self.world.store.outbox.open([channel.name for channel in channels])
        self.alerts = Alerts(self.world.context, channels, Cancellation())

    def tell(self) -> list[str]:
        """Tell all there is to tell; the types of what has arrived so far."""

        def told() -> bool:
            self.alerts.tick()
            return self.alerts.is_idle()

        wait_for(told)
        return self.receiver.types

    def pending(self) -> Sequence[Event]:
        """What is in the outbox."""
        moment = self.world.now + timedelta(days=9)
        found = []
        for name in self.world.store.outbox._channels:
            while (entry := self.world.store.outbox.due(name, moment)) is not None:
                found.append(entry.event)
                self.world.store.outbox.delivered(entry)
        return found

    def publish_and_finish(self, *numbers: int) -> None:
        """New episodes of a weekly show, all the way to ready."""
        first = self.world.now - timedelta(weeks=10)
        items = (item(one, when=first + timedelta(weeks=one)) for one in numbers)
        self.world.feeds.publish(*items)
        self.world.later(minutes=30)
        self.world.check()
        self.world.submit()
        self.world.later(minutes=1)
        self.world.poll()


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    with world(tmp_path / "feedwatch.db") as loops, Receiver() as receiver:
        told = Told(loops, receiver)
        yield told
        told.alerts.close()
        told.http.close()


def test_a_key_that_a_poll_finds_refused_is_told_within_five_seconds(told: Told) -> None:
    told.world.feeds.publish(1)
    told.world.check()
    told.world.submit()
    told.world.later(minutes=1)
    told.tell()
    told.world.sandbox.faults.add(Fault("any", "status", status=401, times=None))
    told.world.poll()
    told.world.later(seconds=3)
    assert told.tell()[-1:] == ["trouble.began"]
    assert "401" in told.receiver.events[-1].text


def test_two_configs_are_told_once_they_have_lasted(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = {"unseen_for": timedelta(), "clock_offset": 0.0, "started_at": told.world.now}
    ours, other = (
        Daemon(id=f"{host}/1/f", host=host, version="1", config_mark=host, leads=leads, **kinds)  # type: ignore[arg-type]
        for host, leads in (("a", True), ("b", False))
    )
    now, both = time.monotonic(), [ours, other]
    monkeypatch.setattr(told.world.store.heartbeats, "daemons", lambda: both)
    said = []
    for later, daemons in ((0, [ours, other]), (100, [ours]), (150, [ours, other])):
        both[:] = daemons
        monkeypatch.setattr(time, "monotonic", lambda later=later: now + later)
        told.world.later(minutes=1)  # nobody has written: the loop is idle for a while
        said.append(list(told.tell()))
    assert said == [[], [], []], "the second time it has begun anew"
    monkeypatch.setattr(time, "monotonic", lambda: now + 150 + DIFFERS_FOR)
    told.world.later(seconds=3)
    assert told.tell() == ["trouble.began"]
    both[:] = [ours]
    told.world.later(seconds=3)
    assert told.tell() == ["trouble.began", "trouble.ended"]


# What is ready


def test_a_ready_episode_is_told_once_with_its_processed_url(told: Told) -> None:
    told.publish_and_finish(1)
    assert told.tell() == ["episode.ready"]
    assert told.tell() == ["episode.ready"]
    (event,) = told.receiver.events
    episode = told.world.episode()
    assert event.data["episode"]["processed_url"] == episode.processed_url
    assert event.data["episode"]["guid"] == "guid-1"
    assert episode.processed_url is not None
    assert episode.processed_url in event.text


def test_a_step_that_is_not_written_down_is_not_told(told: Told) -> None:
    told.world.feeds.publish(1)
    told.world.check()
    told.world.submit()
    stale = told.world.episode()
    told.world.later(minutes=1)
    told.world.poll()
    assert told.tell() == ["episode.ready"]
    again = job_lifecycle.polled(
        stale,
        told.world.context.processors["inlet"].poll(
            polled_task(told.world.store, stale), stale.media_id or ""
        ),
        told.world.now,
        told.world.policy,
    )
    assert told.world.store.episodes.save(stale, again, told.world.now) is None
    assert told.tell() == ["episode.ready"]


def test_what_was_ready_before_there_was_anybody_to_tell_is_not_told(told: Told) -> None:
    told.by()
    told.publish_and_finish(1)
    told.by(told.webhook)
    assert told.tell() == []
    told.publish_and_finish(2, 1)
    assert told.tell() == ["episode.ready"]


def test_what_is_under_way_outlives_the_process_and_keeps_its_id(told: Told) -> None:
    told.receiver.status = 500
    told.publish_and_finish(1)
    assert told.tell() == ["episode.ready"]
    told.receiver.status = 200
    told.by(told.webhook)
    told.world.later(minutes=1)
    assert told.tell() == ["episode.ready"] * 2
    first, second = told.receiver.posts
    assert first[1] == second[1]
    assert first[0]["webhook-id"] == second[0]["webhook-id"]


def test_what_was_told_but_not_marked_is_told_again(told: Told) -> None:
    told.publish_and_finish(1)
    told.alerts.tick()
    wait_for(lambda: told.receiver.posts)
    with locked(told.world), pytest.raises(StoreError):
        wait_for(lambda: not told.alerts.tick())  # again and again, until it raises
    assert told.tell() == ["episode.ready"] * 2
    assert len({event.id for event in told.receiver.events}) == 1


# Channels that fail


def test_a_channel_that_fails_repeats_no_other_one(told: Told, tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    tell = tmp_path / "tell"
    tell.write_text(f"#!/bin/sh\necho $FEEDWATCH_EVENT_TYPE >> {lines}\n")
    tell.chmod(0o700)
    told.receiver.status = 500
    told.by(told.webhook, Command(words=[str(tell)], cancellation=told.cancellation))
    told.publish_and_finish(1)
    for _ in range(3):
        told.tell()
        told.world.later(hours=2)
    assert len(told.receiver.posts) == 3
    assert lines.read_text().splitlines() == ["episode.ready"]


def test_a_channel_that_fails_is_tried_ever_less_often_and_given_up_in_the_log(
    told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    told.receiver.status = 410
    told.publish_and_finish(1)
    begun = told.world.now
    moments: list[datetime] = []
    while told.world.now < begun + GIVEN_UP_AFTER + timedelta(hours=1):
        if len(told.tell()) > len(moments):
            moments.append(told.world.now)
        told.world.later(minutes=5 if len(moments) < 12 else 60)
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    assert max(gaps) <= RETRY_AT_LEAST_EVERY * 2.25
    assert 24 < len(moments) < 100
    assert told.pending() == []
    warnings = [
        record for record in caplog.records if "was not delivered via webhook" in record.message
    ]
    assert len(warnings) == 1
    assert "given up after 3 days" in caplog.text
    assert "the server answered 410" in caplog.text
    assert "s3cret" not in caplog.text


def test_one_event_that_is_refused_holds_no_later_one_back(told: Told) -> None:
    told.receiver.status = 400
    told.publish_and_finish(1)
    told.tell()
    told.receiver.status = 200
    told.world.store.outbox.put_off(
        _only(told), told.world.now + timedelta(hours=1), "the server answered 400"
    )
    told.publish_and_finish(2, 1)
    told.tell()
    assert told.receiver.events[-1].data["episode"]["guid"] == "guid-2"


def _only(told: Told) -> OutboxEntry:
    entry = told.world.store.outbox.due("webhook", told.world.now + timedelta(hours=40))
    assert entry is not None
    return entry


def test_events_are_told_in_their_order(told: Told) -> None:
    told.by()
    told.by(told.webhook)
    for number in range(1, 5):
        told.publish_and_finish(*range(number, 0, -1))
    told.tell()
    guids = [event.data["episode"]["guid"] for event in told.receiver.events]
    assert guids == [f"guid-{number}" for number in range(1, 5)]


def test_a_channel_that_hangs_holds_up_nothing_but_itself(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_module, "SECONDS", LONG)
    told.http.timeout = httpx.Timeout(LONG)
    told.receiver.delay = LONG
    told.publish_and_finish(1)
    for _ in range(5):
        told.alerts.tick()
    assert told.alerts._deliveries.ids, "it is under way all the time"
    told.cancellation.stop_in(0.1)
    told.world.context.stopping.set()
    told.alerts.close()
    told.alerts.tick()
    assert len(told.pending()) == 1  # the next process tells it


def test_what_is_stuck_is_shown_by_channel(told: Told) -> None:
    assert told.world.store.outbox.stuck() == []
    told.receiver.status = 500
    told.publish_and_finish(1)
    told.tell()
    told.publish_and_finish(2, 1)
    (stuck,) = told.world.store.outbox.stuck()
    assert (stuck.channel, stuck.events) == ("webhook", 2)
    assert stuck.error == "the server answered 500"


def test_a_channel_taken_out_of_the_config_leaves_nothing_behind(told: Told) -> None:
    told.receiver.status = 500
    told.publish_and_finish(1)
    told.tell()
    told.by(Command(words=["true"], cancellation=told.cancellation))
    told.by(told.webhook)
    assert told.pending() == []


# Troubles


def test_a_flood_is_told_once_and_so_is_its_end_even_across_restarts(told: Told) -> None:
    told.publish_and_finish(1)
    told.publish_and_finish(*range(9, 0, -1))
    assert told.tell() == ["episode.ready", "trouble.began"]
    began = told.receiver.events[-1]
    assert "8 episodes held" in began.text
    assert "`feedwatch approve --feed show`" in began.text
    told.by(told.webhook)
    told.world.later(hours=5)
    assert len(told.tell()) == 2
    for episode in told.world.store.episodes.find(states=[State.HELD]):
        told.world.store.episodes.save(episode, episode_lifecycle.skipped(episode), told.world.now)
    told.world.later(minutes=1)
    assert told.tell()[2:] == ["trouble.ended"]
    assert told.receiver.events[-1].data["key"] == began.data["key"] == "held show"


def test_each_submission_in_doubt_is_told(told: Told) -> None:
    told.world.sandbox.faults.add(Fault(on="submit", kind="status", status=502, times=2))
    told.world.feeds.publish(2, 1)
    told.world.check()
    told.world.submit()
    assert told.tell() == ["trouble.began"]
    assert "feedwatch adopt" in told.receiver.events[0].text
    told.world.later(hours=7)
    told.world.submit()
    told.world.later(hours=1)
    assert told.tell() == ["trouble.began", "trouble.grew"]
    assert told.receiver.events[-1].data["episodes"] == 2


def test_a_feed_that_fails_is_told_after_three_checks_and_again_when_it_stays_well(
    told: Told,
) -> None:
    told.world.feeds.publish(1)
    told.world.check()
    told.world.feeds.answer(500)
    for _ in range(3):
        assert told.tell() == []
        told.world.later(hours=6)
        told.world.check()
    assert told.tell() == ["trouble.began"]
    assert "3 checks in a row failed" in told.receiver.events[0].text
    told.world.feeds.publish(1)
    told.world.later(hours=12)
    told.world.check()
    assert told.tell() == ["trouble.began"]
    told.world.later(seconds=CALM["failing"].total_seconds())
    assert told.tell() == ["trouble.began", "trouble.ended"]


def test_a_trouble_that_stands_is_told_to_whom_is_configured_later(told: Told) -> None:
    told.publish_and_finish(1)
    told.publish_and_finish(*range(9, 0, -1))
    told.tell()
    told.by()
    told.by(told.webhook)
    assert told.tell()[2:] == ["trouble.began"]


def test_a_database_that_was_restored_is_told(told: Told) -> None:
    told.world.store.claims.hold_everything(told.world.now, episode_lifecycle.doubted)
    assert told.tell() == ["database.restored"]


def test_what_waits_is_counted_by_feed_and_state(told: Told) -> None:
    store, now = told.world.store, told.world.now
    told.world.feeds.publish(3, 2, 1)
    told.world.check()

    first, second = (claim(store, told.world.policy, now) for _ in range(2))
    assert first is not None
    assert second is not None
    store.episodes.save(
        first, episode_lifecycle.answered(first, Unknown("502"), now, told.world.policy), now
    )
    taken = episode_lifecycle.answered(second, Accepted("m-2"), now, told.world.policy)
    job = store.episodes.save(second, taken, now)
    assert job is not None
    late = job_lifecycle.polled(
        job,
        told.world.context.processors["inlet"].poll(polled_task(store, job), "none"),
        now + timedelta(days=2),
        told.world.policy,
    )
    store.episodes.save(job, late, now)
    found = {one.state: one for one in store.statistics.waiting(now - timedelta(days=7))}
    assert found.keys() == {State.UNKNOWN, State.PROCESSING}
    assert found[State.UNKNOWN].newest_title == "Episode 1"
    assert (found[State.PROCESSING].episodes, found[State.PROCESSING].newest_id) == (1, job.id)


# The daemon


def tell_to(workspace: Workspace, receiver: Receiver) -> None:
    workspace.set(NOTIFY_WEBHOOK_URL=receiver.url, NOTIFY_WEBHOOK_SECRET=SECRET)


def test_a_process_killed_between_delivery_and_mark_delivers_again_and_ends_in_time_if_that_hangs(
    feedwatch: Feedwatch, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Receiver() as receiver:
        tell_to(workspace, receiver)
        killed = feedwatch.start("run", "--once")
        receiver.before_answer = killed.kill
        assert killed.wait().status == -signal.SIGKILL
        assert feedwatch.states() == {"guid-1": "ready"}
        arrived = threading.Event()
        receiver.before_answer = arrived.set
        receiver.delay = LONG
        monkeypatch.setattr(webhook_module, "SECONDS", LONG)  # so that it must be broken off
        monkeypatch.setattr("feedwatch.net.client.SILENCE_SECONDS", LONG)

        def wait(again: Beside) -> None:
            again.until(arrived.is_set, "the event once more")

        ended = feedwatch.while_it_runs(["run", "--once"], wait)
        assert ended.status == 0
        first, second = receiver.posts
        assert first[1] == second[1]
        assert receiver.types == ["episode.ready"] * 2
        assert KEY not in ended.stderr
        assert "s3cret" not in ended.stderr


def test_run_once_tells_before_it_ends(feedwatch: Feedwatch, workspace: Workspace) -> None:
    with Receiver() as receiver:
        tell_to(workspace, receiver)
        assert feedwatch.once().status == 0
        assert receiver.types == ["episode.ready"]


def test_a_daemon_says_at_its_start_which_channel_cannot_work(
    feedwatch: Feedwatch, workspace: Workspace
) -> None:
    workspace.set(NOTIFY_COMMAND="no-such-program")
    assert "notifications by command will not work" in feedwatch.once().stderr


def test_each_channel_is_known_by_one_name(workspace: Workspace) -> None:
    keys = {
        "NOTIFY_COMMAND": "true",
        "NOTIFY_WEBHOOK_URL": "https://hook.example",
        "NOTIFY_WEBHOOK_SECRET": SECRET,
        "NOTIFY_APPRISE_URLS": "json://one.example json://other.example",
    }
    workspace.set(**keys)
    settings = load(workspace.config, {})
    with notify_channels(settings, Cancellation()) as channels:
        names = [channel.name for channel in channels]
    assert sorted(names) == sorted(channel_names(settings))
    assert len(set(names)) == 4


def test_without_a_channel_nothing_is_kept(feedwatch: Feedwatch, workspace: Workspace) -> None:
    assert feedwatch.once().status == 0
    with closing(sqlite3.connect(workspace.database)) as db:
        assert db.execute("select count(*) from outbox").fetchone() == (0,)
        assert db.execute("select count(*) from alerts").fetchone() == (0,)


# The config


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"NOTIFY_COMMAND": 'tell "the team'}, "No closing quotation"),
        ({"NOTIFY_WEBHOOK_URL": "https://h.example/t0ken"}, "NOTIFY_WEBHOOK_SECRET beside it"),
        ({"NOTIFY_WEBHOOK_URL": "t0ken", "NOTIFY_WEBHOOK_SECRET": SECRET}, "begins with http://"),
        ({"NOTIFY_WEBHOOK_SECRET": "t0ken"}, "24 to 64 bytes in base64"),
        ({"NOTIFY_WEBHOOK_SECRET_FILE": "no-such-file"}, "cannot be read"),
        ({"NOTIFY_APPRISE_URLS": "t0ken"}, "addresses of Apprise's"),
    ],
)
def test_a_wrong_setting_is_told_without_what_may_be_secret(
    feedwatch: Feedwatch, workspace: Workspace, keys: dict[str, str], said: str
) -> None:
    workspace.set(**keys)
    ended = feedwatch.here("doctor")
    assert ended.status == 2
    assert said in ended.stderr
    assert "t0ken" not in ended.output


def test_without_apprise_its_addresses_are_refused_with_what_to_install(
    feedwatch: Feedwatch, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    workspace.set(NOTIFY_APPRISE_URLS="ntfy://t0ken")
    ended = feedwatch.here("status")
    assert ended.status == 2
    assert "pip install apprise" in ended.stderr
    assert "t0ken" not in ended.output


def test_the_settings_reach_their_places_and_are_not_shown(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    keys = {
        "COMMAND": "./tell 'the team' t0ken",
        "WEBHOOK_URL": "https://h.example/t0ken",
        "WEBHOOK_SECRET_FILE": "secret",
        "APPRISE_URLS": "ntfy://t0ken, mailto://u:t0ken@h.example?to=a@h,b@h  json://h.example",
    }
    (tmp_path / "config.env").write_text("")
    environ = {f"FEEDWATCH_NOTIFY_{key}": value for key, value in keys.items()}
    settings = load(tmp_path / "config.env", environ | {"FEEDWATCH_API_KEY": "k"})
    assert settings.notify_command == (f"{tmp_path}/tell", "the team", "t0ken")
    assert settings.notify_webhook_url == "https://h.example/t0ken"
    assert settings.notify_webhook_secret is not None
    secret = settings.notify_webhook_secret.get_secret_value()
    assert secret == base64.b64decode(SECRET.removeprefix("whsec_"))
    assert settings.notify_apprise_urls == (
        "ntfy://t0ken",
        "mailto://u:t0ken@h.example?to=a@h,b@h",
        "json://h.example",
    )
    assert "t0ken" not in repr(settings)
