"""What people see on terminals of 60, 80 and 200 columns, in colour and without: tests/screens.

`make screens` writes these files anew; the diff is then to be read.
"""

import io
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from difflib import unified_diff
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from feedwatch.cli.progress import progress
from feedwatch.cli.screen import STYLES
from feedwatch.cli.times import Times
from feedwatch.core.admission import Verdict
from feedwatch.core.daemons import Daemon, DaemonHealth
from feedwatch.core.episode import State
from feedwatch.core.feed import FeedState
from feedwatch.core.health import HealthRecord
from feedwatch.core.settings import FeedConfig
from tests.page_site import NOW, PageSite
from tests.support import ROOT, Scene, Terminal, item, scene

SCREENS = Path(__file__).parent / "screens"
FOLDER = "/srv/feedwatch2"  # as long as the real one, which has another name each time
ADDRESS = "127.0.0.1:10000"
ANSI = re.compile(r"\x1b\[[\d;]*m")

LONG = "A very long title about " + " ".join(["extraordinarily uninteresting circumstances"] * 4)
TITLES = (
    ("Episode 1: the start", State.READY),
    ("第二集:关于一切开始的漫长对话以及我们从中学到的东西和接下来会发生的事情", State.HELD),
    ("Folge 3 🎧🔥: Größe, Maß & Übermut", State.PROCESSING),
    ("الحلقة الرابعة: حوار طويل عن البدايات وما تعلمناه منها", State.FAILED),
    (LONG, State.UNKNOWN),
    ("Episode 6: a rerun", State.SKIPPED),
    ("Episode 7", State.QUEUED),
)
ADDRESS_OF_FILE = f"https://cdn.example.org/a/processed/{'0123456789abcdef' * 3}.mp3"
PLACEHOLDER = "507f1f77bcf86cd799439011"
REASONS = {
    State.HELD: "flood: 7 new items in one check, the limit is 5; `approve` or `skip` decides",
    State.UNKNOWN: "timed out after 30 s: the POST may have been taken",
    State.FAILED: "refused: 400 Bad Request: the audio is too short",
    State.SKIPPED: "filter: the title matches '(?i)rerun'",
}
VERBS = (
    ("status",),
    ("status", "--local"),
    ("feeds",),
    ("feeds", "--local"),
    ("episodes",),
    ("episodes", "--local", "--limit", "2"),
    ("show", "1"),
    ("show", "5"),
    ("check",),
    ("check", "--all"),
    ("doctor",),
    ("podcasts",),
    ("daemons",),
    ("check", "--help"),
)


class Then(datetime):
    """A clock that stands."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "Then":
        """The hour of the screens."""
        return cls.fromtimestamp(NOW.timestamp(), tz)


@pytest.fixture(scope="module")
def screens() -> Iterator[Scene]:
    """A database with each state of an episode and of a feed, and feeds with something new."""
    folder = Path(tempfile.mkdtemp(prefix="fw-", dir="/tmp"))  # of a known length
    try:
        with scene(folder) as world:
            _fill(world, folder / "feedwatch.db")
            yield world
    finally:
        shutil.rmtree(folder)


def _fill(world: Scene, database: Path) -> None:
    site = PageSite(database)
    names = ("show", "the_late_night_talk", "broken")
    sources = [
        FeedConfig(name=name, url=world.feeds.url_of(f"/{name}.xml"), podcast_id="podcast-1")
        for name in names
    ]
    site.store.feeds.sync(sources, dict.fromkeys(names, NOW + timedelta(minutes=15)))
    for place, (title, state) in enumerate(TITLES):
        site.now = NOW - timedelta(days=9 - place)
        one = site.episode(title, state, reason=REASONS.get(state))
        site.add(replace(one, processed_url=ADDRESS_OF_FILE if state is State.READY else None))
    gone = "the server answered 404 Not Found"
    _record(site, "broken", failures=3, error=gone, checked_at=NOW - timedelta(minutes=3))
    since = NOW - timedelta(days=365)
    _record(site, "show", baseline_at=since, success_at=since, checked_at=since, item_count=7)
    site.store.close()
    for name in names:
        podcast = "podcast-1" if name == "show" else PLACEHOLDER
        url = world.feeds.url_of(f"/{name}.xml")
        world.workspace.add_feed(name, url, podcast, FIRST_RUN="latest:2")
    world.feeds.publish(
        *(item(number, title=title) for number, (title, _) in enumerate(TITLES, 1)),
        item(40, title="Episode 40: 新しい", when=NOW - timedelta(hours=1)),
        path="/show.xml",
    )
    world.feeds.publish(*range(1, 30), path="/the_late_night_talk.xml")


def _record(site: PageSite, name: str, **values: Any) -> None:
    before = site.feed(name)
    site.store.checks.record(replace(before, **values), [], {}, NOW, before=before)


def _daemons(*_: object) -> list[DaemonHealth]:
    """One that leads and one that was not seen for long."""
    leader = Daemon(
        *("host-1.example/1234/5", "host-1.example", "0.1.0", "0123456789abcdef"),
        *(NOW - timedelta(days=2), timedelta(seconds=4), 0.04, True),
    )
    other = leader._replace(
        id="host-2.example/99/7",
        host="host-2.example",
        unseen_for=timedelta(hours=2),
        leads=False,
    )
    record = HealthRecord(up=timedelta(days=2), loops=())
    return [DaemonHealth(leader, record, NOW), DaemonHealth(other, None, None)]


@pytest.mark.parametrize("style", ["colour", "plain"])
@pytest.mark.parametrize("columns", [60, 80, 200])
def test_screens_are_as_they_were(
    screens: Scene, columns: int, style: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = rendered(screens, columns, style, monkeypatch)
    for line in ANSI.sub("", text).splitlines():
        alone = len(line.split()) == 1 and line.isascii()  # such as an address, to be copied
        assert cell_len(line) <= columns or alone or line.startswith("$ "), line
    assert "…" not in text
    file = SCREENS / f"{columns}-{style}.txt"
    if "FEEDWATCH_TESTS_SCREENS" in os.environ:
        file.write_text(text, encoding="utf-8")
    before = file.read_text(encoding="utf-8").splitlines()
    diff = unified_diff(before, text.splitlines(), file.name, "now", lineterm="", n=1)
    changes = "\n".join(diff).replace("\x1b", "\\e")
    assert not changes, f"{changes}\n`make screens` takes this over"


def test_colour_says_nothing_that_words_do_not() -> None:
    for columns in (60, 80, 200):
        coloured = (SCREENS / f"{columns}-colour.txt").read_text(encoding="utf-8")
        plain = (SCREENS / f"{columns}-plain.txt").read_text(encoding="utf-8")
        assert ANSI.search(coloured)
        assert "\x1b" not in plain
        assert ANSI.sub("", coloured) == plain


def test_each_state_has_a_style() -> None:
    for state in (*State, *FeedState, *Verdict):
        assert STYLES[state]


def test_a_terminal_that_knows_no_colours_gets_none(screens: Scene) -> None:
    ended = screens.feedwatch.here("episodes", columns=80, env={"TERM": "dumb"})
    assert "\x1b" not in ended.stdout


def rendered(screens: Scene, columns: int, style: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """All screens, one below the other, each with its exit status."""
    for verb in ("inspect", "check", "daemons"):
        monkeypatch.setattr(f"feedwatch.cli.{verb}.datetime", Then)
    monkeypatch.setattr("feedwatch.cli.daemons.health_of_daemons", _daemons)
    env = {"TERM": "xterm-256color", "TZ": "Europe/Berlin"}
    env |= {"NO_COLOR": "1"} if style == "plain" else {}
    text = ""
    with berlin():
        for call in VERBS:
            ended = screens.feedwatch.here(*call, columns=columns, env=env)
            text += f"$ feedwatch {' '.join(call)}\n{ended.stdout}[{ended.status}]\n\n"
    text = text.replace(str(screens.workspace.folder), FOLDER)
    text = re.sub(r"\d+ s off the API's", "0 s off the API's", text)
    return re.sub(r"127\.0\.0\.1:\d{5}", ADDRESS, text)


@contextmanager
def berlin() -> Iterator[None]:
    """A zone that is not UTC, with summers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        try:
            yield
        finally:
            patch.undo()
            time.tzset()


def test_the_readme_shows_the_lines_that_there_are() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    screen = (SCREENS / "200-plain.txt").read_text(encoding="utf-8")
    status = re.compile(r"^\$ feedwatch status\n((?:\w.*\n)+)", re.MULTILINE)
    ours, theirs = status.search(readme), status.search(screen)
    assert ours is not None
    assert theirs is not None
    labels = [[line.split()[0] for line in one[1].splitlines()] for one in (ours, theirs)]
    assert labels[0] == labels[1]
    heads = re.findall(r"^decision .*", screen, re.MULTILINE)
    assert {
        " ".join(head.split()) for head in re.findall(r"^decision .*", readme, re.MULTILINE)
    } <= {" ".join(head.split()) for head in heads}


def test_a_local_time_has_its_offset_and_one_that_no_zone_reaches_is_in_utc() -> None:
    local, utc = Times(local=True), Times(local=False)
    summer = datetime(2026, 7, 1, 12, tzinfo=UTC)
    with berlin():
        assert local.cell(NOW) == "2026-11-21 13:00+01:00"
        assert local.spoken(summer) == "2026-07-01 14:00+02:00"
        assert local.exact(summer) == "2026-07-01 14:00:00+02:00"
        assert local.exact(datetime.max.replace(tzinfo=UTC)).endswith("Z")
    assert (utc.cell(NOW), utc.spoken(NOW)) == ("2026-11-21 12:00", "2026-11-21 12:00Z")
    assert (utc.cell(None), utc.spoken(None), utc.exact(None)) == ("-", "-", "-")


def test_a_feed_that_only_this_config_has_is_said_to_be_checked_by_nobody(
    screens: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feedwatch.watcher.overview.health_of_daemons", _daemons)
    screens.workspace.add_feed("ours_alone", "http://127.0.0.1:9/feed.xml")
    try:
        lines = screens.feedwatch.here("feeds").stdout.splitlines()
    finally:
        for key in ("URL", "PODCAST_ID"):
            screens.workspace.set(**{f"FEEDS__OURS_ALONE__{key}": None})
    told = [line for line in lines if "nobody checks it" in line]
    assert [line.split()[0] for line in told] == ["ours_alone"]
    assert "process 1234 on host-1.example" in told[0]


def test_progress_shows_on_a_terminal_and_lets_the_log_stand_whole_above_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw = io.BytesIO()
    error = Terminal(raw, encoding="utf-8", write_through=True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr("sys.stderr", error)
    handler, root = logging.StreamHandler(error), logging.getLogger()
    root.addHandler(handler)
    try:
        with progress("at work", 2) as line:
            line.say("show", 1)
            root.warning("a line %s", "x" * 300)
            with line.hidden():
                error.write("a finding\n")
        assert handler.stream is error
    finally:
        root.removeHandler(handler)
    text = ANSI.sub("", raw.getvalue().decode())
    assert f"a line {'x' * 300}\n" in text
    assert "1/2 show" in text
