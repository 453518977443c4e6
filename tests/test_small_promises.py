"""Small promises: intervals with their spread, odd texts, order of events, exit statuses."""

import csv
import io
import json
import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from feedwatch.cli.export import _cell
from feedwatch.core import events, feed_lifecycle, schedule
from feedwatch.core.events import Event
from feedwatch.core.feed import Failed, Feed, Hints, NotModified
from feedwatch.core.printable import counted
from feedwatch.core.schedule import DAY, HOUR
from feedwatch.feeds.polling_hints import hints_of
from feedwatch.net.client import Cancellation, retry_after
from feedwatch.watcher.alerts import Alerts
from tests.support import Feedwatch, Workspace, wait_for
from tests.world import world

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ROOT = Path(__file__).parent.parent / "feedwatch"
NAMES = [f"feed-{number}" for number in range(200)]


@pytest.mark.parametrize("interval", [HOUR / 4, 5 * HOUR])
def test_a_failing_feed_is_checked_once_a_day_at_least(interval: timedelta) -> None:
    for name in NAMES:
        feed = Feed(name=name, url="https://h.example/", failures=30)
        after = feed_lifecycle.checked(feed, Failed("no answer"), None, NOW, interval)
        assert after.due_at is not None
        assert after.due_at - NOW <= DAY


def test_hints_do_not_lengthen_an_interval_beyond_a_day() -> None:
    for name in NAMES:
        feed = Feed(name=name, url="https://h.example/", http_max_age=10**6)
        answer = NotModified(http_max_age=timedelta(days=10))
        after = feed_lifecycle.checked(feed, answer, None, NOW, 8 * HOUR)
        assert after.due_at is not None
        assert 8 * HOUR <= after.due_at - NOW <= DAY


def test_an_old_job_is_polled_every_six_hours_at_least() -> None:
    for name in NAMES:
        due_at = schedule.next_poll(NOW, NOW - 30 * DAY, timedelta(seconds=30), key=name)
        assert due_at - NOW <= 6 * HOUR


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("120", timedelta(minutes=2)),
        ("9" * 20, timedelta(days=100)),
        ("9" * 5000, timedelta(days=100)),
        ("Fri, 31 Dec 9999 23:59:59 -2359", timedelta(days=100)),
        ("Sat, 01 Jan 0001 00:00:00 +2359", timedelta()),
        ("soon", None),
    ],
)
def test_a_retry_after_of_any_size_is_a_wait_or_nothing(value: str, wait: timedelta | None) -> None:
    assert retry_after(httpx.Response(503, headers={"Retry-After": value})) == wait


@pytest.mark.parametrize(
    ("head", "every"),
    [
        (b"<ttl>60</ttl>", 60),
        (b"<!-- <ttl>1440</ttl> -->", None),
        (b"<!-- <item> --><ttl>60</ttl>", 60),
        (b"<!-- <ttl>1440</ttl> --><ttl>60</ttl><!-- <ttl>9</ttl> -->", 60),
        (b"<!-- <ttl>1440</ttl>", None),
    ],
)
def test_a_hint_within_a_comment_is_none(head: bytes, every: int | None) -> None:
    hints: Hints = hints_of(b"<rss><channel>" + head + b"<item></item></channel></rss>")
    assert hints.every == (timedelta(minutes=every) if every else None)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\uff1d"])
def test_no_cell_begins_like_a_formula_whatever_separates_them(separator: str, start: str) -> None:
    formula = f"{start}HYPERLINK(1)"
    for text in (formula, f"a{separator}{formula}", f"a{separator} {formula}", f"a\n{formula}"):
        line = io.StringIO()
        csv.writer(line).writerow(["1", _cell(text)])
        raw = line.getvalue().replace('"', "")
        cells = [cell.strip() for part in raw.splitlines() for cell in part.split(separator)]
        assert not [cell for cell in cells if cell.startswith(start)]


def test_what_no_spreadsheet_runs_stays_as_it_is() -> None:
    for value in ("Episode 1 - a-b", "https://h.example/?a=b&c=-1", 7, None):
        assert _cell(value) == value


def test_show_writes_json_whatever_is_in_the_database(
    feedwatch: Feedwatch, workspace: Workspace
) -> None:
    feedwatch.once()
    with closing(sqlite3.connect(workspace.database)) as database, database:
        half = json.dumps(["\ud800"])
        database.execute("UPDATE episodes SET ad_removal_markers = ?", (half,))
    assert feedwatch.json("show", 1)["ad_removal_markers"] == ["\ud800"]
    assert feedwatch.here("show", 1).status == 0


def test_show_bounds_what_is_nested_deeply_in_an_old_row(
    feedwatch: Feedwatch, workspace: Workspace
) -> None:
    feedwatch.once()
    for depth, shown in ((1_000, None), (100_000, None), (20, list)):
        with closing(sqlite3.connect(workspace.database)) as database, database:
            deep = "[" * depth + "]" * depth
            database.execute("UPDATE episodes SET ad_removal_markers = ?", (deep,))
        markers = feedwatch.json("show", 1)["ad_removal_markers"]
        assert markers is None if shown is None else isinstance(markers, shown)
        assert feedwatch.here("show", 1).status == 0


def test_an_unknown_feed_is_status_2_for_every_verb(feedwatch: Feedwatch) -> None:
    feedwatch.once("--timeout", "0")
    for verb in (
        ["check", "nope"],
        ["episodes", "--feed", "nope"],
        ["approve", "--feed", "nope", "--yes"],
        ["skip", "--feed", "nope", "--yes"],
        ["pause", "--feed", "nope"],
        ["resume", "--feed", "nope"],
        ["export", "--feed", "nope"],
        ["export", "--format", "rss", "--feed", "nope"],
    ):
        ended = feedwatch.here(*verb)
        assert (verb, ended.status) == (verb, 2)
        assert "no feed is named 'nope'" in ended.stderr


def test_status_names_config_and_database_and_says_when_that_is_not_there(
    feedwatch: Feedwatch, workspace: Workspace
) -> None:
    said = feedwatch.here("status").stdout
    assert f"config       {workspace.config}\n" in said
    assert f"database     sqlite:///{workspace.database}, not there yet" in said
    assert feedwatch.json("status")["database"]["exists"] is False
    feedwatch.once("--timeout", "0")
    assert f"database     sqlite:///{workspace.database}\n" in feedwatch.here("status").stdout
    assert feedwatch.json("status")["database"]["exists"] is True


def test_another_database_is_answered_by_what_is_supported(
    feedwatch: Feedwatch, workspace: Workspace
) -> None:
    workspace.set(DATABASE_URL="mysql://joe:sesame99@h/db")
    ended = feedwatch.here("status")
    assert ended.status == 2
    assert "or of PostgreSQL" in ended.stderr
    assert "sesame99" not in ended.output


NOUNS = "feed|episode|item|job|claim|line|event|submission|podcast|change|day|hour"
NUMBER = r"(?:%d|\{\{?(?!counted\()[a-z][^{}]*\}\}?)"  # not a constant, as {MAX_ITEMS}
OF_A_NUMBER = re.compile(rf"{NUMBER} (?:\w+ )?(?:{NOUNS})s\b")
NEVER_ONE = {
    "given up after %d days",  # of a constant
    "retried for %d days",
    "last {episode_lifecycle.MOST_REFUSALS} episodes",
    "about every {round(gap)} days",  # one is "daily"
    "older than {older_than} days",  # 30 at least
}


def test_what_is_counted_is_one_feed_and_two_feeds() -> None:
    found = set()
    for path in (*ROOT.rglob("*.py"), *ROOT.rglob("*.html")):
        text = path.read_text(encoding="utf-8")
        for known in NEVER_ONE:
            text = text.replace(known, "")
        found |= {(path.name, words) for words in OF_A_NUMBER.findall(text)}
    assert found == set()


@pytest.mark.parametrize(("number", "words"), [(0, "0 feeds"), (1, "1 feed"), (2, "2 feeds")])
def test_a_number_and_its_noun_agree(number: int, words: str) -> None:
    assert counted(number, "feed") == words


class Channel:
    """A channel that works, or does not."""

    name = "test"

    def __init__(self) -> None:
        self.works = True
        self.tried: list[str] = []

    def complaint(self) -> str | None:
        return None

    def deliver(self, event: Event) -> str | None:
        self.tried.append(event.text)
        return None if self.works else "down"


def test_a_channel_that_was_down_gets_its_events_oldest_first(tmp_path: Path) -> None:
    with world(tmp_path / "feedwatch.db") as loops:
        channel = Channel()
        channels: Sequence[Channel] = [channel]
        loops.store.outbox.open(["test"])
        alerts = Alerts(loops.context, channels, Cancellation())

        def rounds(number: int) -> None:
            for _ in range(number):
                loops.later(minutes=7)
                alerts.tick()
                wait_for(
                    lambda: (
                        not alerts._deliveries.ids or (alerts.tick() and not alerts._deliveries.ids)
                    )
                )

        texts = [f"event {number}" for number in range(6)]
        for number, text in enumerate(texts):
            with loops.store._engine.begin() as db:
                event = events.event(
                    "test", text, loops.now + number * timedelta(seconds=1), text, {}
                )
                loops.store.outbox.put(db, event, loops.now)
        channel.works = False
        rounds(20)
        channel.works, channel.tried = True, []
        rounds(8)
        assert channel.tried == texts
        alerts.close()
