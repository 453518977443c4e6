"""What is said to people: keys as one writes them, numbers that agree, dates that tell apart."""

import ast
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

import feedwatch
from feedwatch.config.keys import FEED_FIELDS, TOP_KEYS
from feedwatch.core.admission import Verdict
from feedwatch.core.episode import Episode, State
from feedwatch.core.feed import ErrorKind, Feed
from feedwatch.core.json_forms import stamp
from feedwatch.core.printable import listed
from feedwatch.core.settings import FEED_BLOCK, FirstRun, OnReplaced, Rules
from feedwatch.sandbox.faults import Fault
from feedwatch.watcher.check_log import log_check
from feedwatch.watcher.context import log_move, named
from feedwatch.watcher.decisions import Action, Proposal
from tests.page_site import NOW, logged_in, page_site
from tests.shows import FIRST_DAY, Memory, item
from tests.world import world

SOURCE = Path(feedwatch.__file__).parent
# Names that are keys and nothing else; URL, PROXY or HEADERS are words, too.
NAMES = [key for key in {*TOP_KEYS.values(), *FEED_FIELDS.values()} if "_" in key]
UNNAMED = re.compile(rf"(?<![A-Z_])({'|'.join(name.upper() for name in NAMES)})(?![A-Z_])")


def texts(tree: ast.Module) -> Iterator[str]:
    """The string constants of a module, without its docstrings."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and node.body
        if isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in docstrings:
            yield node.value if isinstance(node.value, str) else ""


def test_messages_name_keys_as_they_stand_in_the_config() -> None:
    cut = {
        f"{path.relative_to(SOURCE)}: {text}"
        for path in SOURCE.rglob("*.py")
        if path.name != "masking.py"  # patterns
        for text in texts(ast.parse(path.read_text(encoding="utf-8")))
        # At its begin it comes after the `{FEED_BLOCK}` of an f-string, or is a field's name.
        if any(found.start() for found in UNNAMED.finditer(text))
    }
    assert cut == set()


def episode(state: State, **values: object) -> Episode:
    one = Episode(
        feed="show",
        guid="g",
        title="T",
        description="About it.",
        enclosure_url="https://h.example/a.mp3",
        published_at=None,
        state=state,
        reason=None,
        first_seen_at=NOW,
    )
    return replace(one, **values)  # type: ignore[arg-type]


def test_an_item_of_the_day_of_the_first_check_is_told_from_it_by_the_hour() -> None:
    memory = Memory(Rules(first_run=FirstRun()))
    (decision,) = memory.look(item(1, published_at=FIRST_DAY - timedelta(minutes=5)))
    assert decision.verdict is Verdict.HOLD
    assert "dated 2026-01-01 06:25Z, before this feed was first checked at 2026-01-01 06:30Z" in (
        decision.reason
    )


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        (OnReplaced.HOLD, "FEEDWATCH_FEEDS__SHOW__ON_REPLACED=submit or =ignore decides"),
        (OnReplaced.IGNORE, "by FEEDWATCH_FEEDS__SHOW__ON_REPLACED or FEEDWATCH_ON_REPLACED"),
    ],
)
def test_a_reason_names_the_keys_of_its_own_feed(policy: OnReplaced, says: str) -> None:
    memory = Memory(Rules(first_run=FirstRun(everything=True), on_replaced=policy))
    fixed = "https://m.example/latest.mp3"
    memory.take(item(1, enclosure_url=fixed))
    (decision,) = memory.look(item(2, guid="guid-1", title="Episode 1", enclosure_url=fixed + "?2"))
    assert says in decision.reason
    assert FEED_BLOCK not in decision.reason


def test_a_flood_names_the_key_that_raises_its_limit() -> None:
    memory = Memory(Rules(first_run=FirstRun(everything=True), flood_limit=0))
    (decision,) = memory.look(item(1))
    assert "FEEDWATCH_FEEDS__SHOW__FLOOD_LIMIT raises the limit" in decision.reason


def test_episodes_are_named_by_their_ids_as_far_as_one_reads_them() -> None:
    assert listed("episode", [3]) == "episode 3"
    assert listed("episode", [3, 4]) == "episodes 3, 4"
    assert listed("episode", range(1, 14)) == "episodes 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 3 more"


def test_a_warning_names_the_episodes_that_it_is_about() -> None:
    found = [
        episode(State.SKIPPED, id=1, description=None),
        episode(State.SKIPPED, id=2, description=None, missing_since=NOW),
        episode(State.READY, id=3),
        episode(State.UNKNOWN, id=4),
    ]
    moves = [(one, replace(one, state=State.QUEUED)) for one in found]
    told = Proposal(action=Action.RETRY, moves=moves).warnings
    assert [text.partition(":")[0].partition(" perhaps")[0] for text in told] == [
        *("episode 2", "episode 3", "episode 4", "episodes 1, 2"),
    ]


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        (None, "waits until then", "queued: waits until then"),
        ("the API does not answer", None, "queued: no longer so: the API does not answer"),
    ],
)
def test_a_move_to_the_same_state_says_what_is_new(
    caplog: pytest.LogCaptureFixture, before: str | None, after: str | None, says: str
) -> None:
    with caplog.at_level("INFO"):
        moved = episode(State.QUEUED, reason=after)
        log_move(episode(State.QUEUED, reason=before), moved, named(moved))
    assert caplog.messages[0].endswith(f"'T': {says}")


def test_what_only_a_person_mends_is_not_said_to_be_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with world(tmp_path / "feedwatch.db") as loops:
        loops.sandbox.faults.add(Fault("submit", "status", status=401, times=None))
        loops.feeds.publish(1)
        loops.check()
        loops.submit()
    feed = Feed(name="show", url="https://h.example/feed", due_at=NOW)
    log_check(feed, replace(feed, error="gone", error_kind=ErrorKind.GONE), ())
    log_check(feed, replace(feed, error="HTTP 500"), ())
    said = [text for text in caplog.messages if "again" in text or "paused" in text]
    assert "submissions paused until somebody acts" in said[0]
    assert re.search(r"mended, is tried at 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$", said[0])
    assert "gone; looked at again at 2026-11-21T12:00:00Z" in said[-2]
    assert "HTTP 500; tried again at 2026-11-21T12:00:00Z" in said[-1]
    assert sum("tried again" in text for text in said) == 1


def test_a_pause_after_an_answer_names_the_time_of_the_next_try(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with world(tmp_path / "feedwatch.db") as loops:
        loops.sandbox.faults.add(Fault("submit", "status", status=503, times=None))
        loops.feeds.publish(1)
        loops.check()
        loops.submit()
        (said,) = [text for text in caplog.messages if "submissions paused" in text]
        tripped_until = loops.store.breakers.get("inlet").tripped_until
        assert tripped_until is not None
        assert said.endswith(f"; tried again at {stamp(tripped_until)}")


def test_the_last_episode_is_one_that_is_out(tmp_path: Path) -> None:
    with page_site(tmp_path / "a.db") as site:
        ahead = site.episode("Ahead", State.QUEUED, published_at=NOW + timedelta(days=3))
        out = site.episode("Out", State.READY, published_at=NOW - timedelta(days=5))
        site.add(ahead, out)
        browser = logged_in(site.app())
        assert "last episode 5 d ago" in browser.get("/feeds/show").text
        listed_feeds = browser.get("/feeds").text
    assert "5 d ago" in listed_feeds
    assert "in 3 d" not in listed_feeds
    assert "1 episode in 26 weeks" in listed_feeds
