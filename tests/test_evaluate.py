"""The fast scan of a document and its whole parse lead to the same episodes."""

import gzip
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from feedwatch.core import episode_lifecycle
from feedwatch.core.episode import State
from feedwatch.core.feed import Document, Failed, ParsedFeed
from feedwatch.core.settings import FeedConfig, FirstRun, Policy, Rules
from feedwatch.feeds import parse
from feedwatch.feeds.hashes import hashed
from feedwatch.feeds.parser_process import Parser
from feedwatch.processors.inlet import Inlet
from feedwatch.watcher.context import Check, Context, Plan
from feedwatch.watcher.evaluate import Evaluator, record
from tests.feeds_corpus import Corpus
from tests.support import audio, item, one_in, published
from tests.support import rss as rss_of
from tests.test_store import opened
from tests.world import World, world

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SOURCE = FeedConfig(
    name="show",
    url="http://feeds.example.org/feed.xml",
    podcast_id="p",
    check_interval=timedelta(minutes=15),
)
LARGE = 300_000  # bytes: feedparser takes its time
Summary = list[tuple[object, ...]]


class CountingParser:
    """`rss.parse` in this process, and how many items it was given."""

    def __init__(self) -> None:
        self.items = 0

    def parse(self, document: Document, media_types: Sequence[str]) -> ParsedFeed | Failed:
        self.items += document.body.count(b"</item>") + document.body.count(b"</entry>")
        return parse.parse(document, media_types)

    def close(self) -> None:
        pass


class Way:
    """A feed's documents, read one after another into a database of their own."""

    def __init__(self, path: Path, rules: Rules | None = None, *, full: bool = False) -> None:
        self.now = NOW
        self.full = full
        self.source = replace(SOURCE, rules=rules or Rules())
        self.store = opened(path)
        self.store.feeds.sync([self.source], {"show": NOW})
        self.parser = CountingParser()
        plan = Plan(sources={"show": self.source}, policy=Policy())
        http = httpx.Client(verify=False)  # to read the world's certificates takes longer
        self.context = Context(
            store=self.store, processors={"inlet": Inlet(http)}, plan=plan, clock=lambda: self.now
        )
        self.reader = Evaluator(self.store, self.parser, lambda: self.now)

    def check(self, body: bytes) -> int:
        """Take a document in; returns how many items feedparser had to read."""
        self.now += timedelta(minutes=15)
        before = self.parser.items
        document = hashed(Document(body=body, url=self.source.url), self.source.rules)
        (feed,) = self.store.feeds.all()
        if self.full:
            reading = self.reader.evaluate_items(feed, self.source, document, None)
        else:
            reading = self.reader.evaluate(feed, self.source, document)
        check = Check(feed=feed, source=self.source, host="")
        record(self.context, check, document, reading)
        return self.parser.items - before

    def summary(self) -> Summary:
        """All that matters of all episodes, but the descriptions of those not to be submitted."""
        return [
            (
                *(one.id, one.guid, one.title, one.enclosure_url, one.published_at),
                *(
                    one.state,
                    one.reason,
                    one.feed_duration,
                    sorted(self.store.episodes.keys(one.id)),
                ),
                one.description if one.state is not State.SKIPPED else None,
            )
            for one in self.store.episodes.find()
        ]

    def close(self) -> None:
        self.store.close()


@pytest.fixture
def ways(tmp_path: Path) -> Iterator[tuple[Way, Way]]:
    latest = Rules(first_run=FirstRun(latest=2))
    cheap, full = Way(tmp_path / "a.db", latest), Way(tmp_path / "b.db", latest, full=True)
    yield cheap, full
    cheap.close()
    full.close()


def test_a_first_check_has_feedparser_read_only_what_is_submitted(ways: tuple[Way, Way]) -> None:
    cheap, full = ways
    body = rss_of(*range(500))
    assert (cheap.check(body), full.check(body)) == (2, 500)
    assert cheap.summary() == full.summary()


def test_of_a_changed_document_feedparser_reads_only_what_is_new(ways: tuple[Way, Way]) -> None:
    cheap, full = ways
    steps: list[tuple[list[str | int], int]] = [
        ([3, 2, 1, 0], 2),
        ([4, 3, 2, 1, 0], 1),  # a new one
        ([item(4, title="Edited"), 3, 2, 1, 0], 1),  # an edit of one that is held
        ([4, 3, 2, item(1, title="Edited"), 0], 1),  # and of one that was skipped: of 4 alone
        ([3, 2, 1, 0], 0),  # one goes
        ([item(4, title="Edited"), 3, 2, 1, 0], 1),  # and comes back
        ([5, item(3, guid="other", title="Same audio, other guid"), 2, 1, 0], 2),
        ([item(6, guid="guid-5", title="Other audio, same guid"), 5, 2, 1], 3),
        ([item(7), item(8, url="https://media.example.org/show/7.mp3"), 5], 2),
        ([item(9, title="Episode 5"), 5], 1),
        (
            [
                item(9, title="Episode 5", description="Edited"),
                item(5, url="https://x.example/n.mp3"),
            ],
            2,
        ),
    ]
    for items, read in steps:
        body = rss_of(*items)
        assert (items, cheap.check(body)) == (items, read)
        full.check(body)
        assert cheap.summary() == full.summary()
        assert cheap.store.feeds.all()[0].item_count == full.store.feeds.all()[0].item_count


def test_an_item_that_only_a_changed_rule_makes_an_episode_is_looked_at_again(
    tmp_path: Path,
) -> None:
    way = Way(tmp_path / "a.db", Rules(media_types=("audio/*",)))
    body = rss_of(1, item(2, media_type="video/mp4", url="https://media.example.org/2.mp4"))
    way.check(body)
    assert len(way.summary()) == 1
    way.source = replace(way.source, rules=Rules(media_types=("audio/*", "video/*")))
    way.check(body)
    assert len(way.summary()) == 2
    way.close()


def test_more_items_than_any_feed_has_fail_it(tmp_path: Path) -> None:
    way = Way(tmp_path / "a.db")
    way.check(rss_of(*["<item><title>x</title></item>\n"] * 20_001))
    (feed,) = way.store.feeds.all()
    assert feed.error == "more than 20000 items"
    way.close()


def test_both_ways_follow_and_doubt_alike(ways: tuple[Way, Way]) -> None:
    """Each kind of change of one item of several, the others unchanged, and of two at once."""
    cheap, full = ways
    host = "https://cdn.example.net/x"
    changes: list[list[str | int]] = [
        [item(5, title="Edited"), 4, 3, 2, 1],
        [item(5, title="Edited", description="New"), 4, 3, 2, 1],
        [item(5, url=f"{host}/5.mp3"), item(4, description="New"), 3, 2, 1],
        [5, 4, item(3, url=f"{host}/3.mp3"), 2, 1],
        [5, 4, item(3, url=f"{host}/audio.mp3"), 2, 1],
        [5, 4, item(3, url=f"{host}/2.mp3"), 2, 1],
        [5, 4, 3, item(2, guid="other", url=f"{host}/a.mp3"), 1],
        [5, 4, 3, item(2, guid="other", url=f"{host}/b.mp3", title="Mended"), 1],
        [5, 4, 3, 2, item(1, url=f"{host}/n.mp3", when=published(9))],
        [5, 3, 2, 1],
        [5, 4, 3, 2, 1],
        [6, 5, item(4, title="A & B").replace("&amp;", "&"), 3, 2],
        [7, 6, 5, item(4, title="A & B").replace("&amp;", "&"), 3],
        [item(7, url=audio(6)), 6, 5, 4],
        [7, 6, item(5, guid="x", title="Later", when=published(20)), 4],
    ]
    changes = [[4, 3, 2, 1], *changes, [9, 8], *reversed(changes)]
    for items in changes:
        body = rss_of(*items)
        cheap.check(body)
        full.check(body)
        assert cheap.summary() == full.summary(), items
        (one,), (other,) = cheap.store.feeds.all(), full.store.feeds.all()
        assert (one.item_count, one.repaired) == (other.item_count, other.repaired)


@pytest.mark.slow
@pytest.mark.parametrize("every", one_in(2, [4, 1]))
def test_both_ways_lead_to_the_same_episodes_over_time(
    tmp_path: Path, real_feeds: Corpus, every: int
) -> None:
    """Of large series the first version and the last. Only the longer run has all of them."""
    found = sorted(path for path in (real_feeds.folder / "series").iterdir() if path.is_dir())
    series = found[::every]
    spared = total = 0
    for folder in series:
        versions = sorted(folder.glob("*.xml"))
        between = versions[:: len(versions) // 2] if versions[0].stat().st_size < LARGE else []
        rules = Rules(first_run=FirstRun(latest=1), flood_limit=1000)
        cheap = Way(tmp_path / f"{folder.name}-a.db", rules)
        full = Way(tmp_path / f"{folder.name}-b.db", rules, full=True)
        for version in sorted({versions[0], *between, versions[-1]}):
            body = version.read_bytes()
            cheap.check(body)
            full.check(body)
        assert cheap.summary() == full.summary(), folder.name
        spared += full.parser.items - cheap.parser.items
        total += full.parser.items
        cheap.close()
        full.close()
    assert spared > (0.75 if series == found else 0.6) * total  # a large one counts for more then


# With the whole loop


@pytest.fixture
def show(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path / "feedwatch.db") as one:
        one.sources = [replace(one.source("show"), rules=Rules())]
        one.restart()
        yield one


def test_the_same_bytes_are_known_without_being_parsed(show: World) -> None:
    show.feeds.etags = False
    show.feeds.publish(1, 2)
    show.check()
    show.feeds.publish(item(3, when=show.now), 1, 2)
    show.later(hours=1)
    show.check()
    assert show.states()["guid-3"] is State.QUEUED
    closed = Parser()
    closed.close()
    show.checks._evaluator._parser = closed  # from here on to parse can only fail
    for _ in range(3):
        show.later(hours=1)
        show.check()
    (feed,) = show.store.feeds.all()
    assert (feed.error, feed.success_at) == (None, show.now)


def test_a_body_that_comes_packed_in_another_way_is_known_by_both_ways(show: World) -> None:
    body, marks = show.feeds.publish(1, 2), []
    for level in (9, 1, 1):
        packed = gzip.compress(body, level, mtime=level)
        show.feeds.answer(body=packed, headers={"Content-Encoding": "gzip", "ETag": str(level)})
        show.check()
        (feed,) = show.store.feeds.all()
        assert (feed.error, feed.etag, feed.last_full_fetch_at) == (None, str(level), show.now)
        marks.append(feed.body_hash or b"")
        show.later(days=2)
    assert marks[0][:16] == marks[1][:16] != marks[0]
    assert marks[0] != marks[1] == marks[2]
    assert feed.recent_checks == "css"


def test_a_skipped_episode_that_is_retried_gets_its_description_before_it_is_submitted(
    show: World,
) -> None:
    show.feeds.publish(1, 2)
    show.check()
    one = show.episode()
    assert (one.state, one.description) == (State.SKIPPED, None)
    assert (
        show.store.episodes.save(one, episode_lifecycle.retried(one, show.now), show.now)
        is not None
    )
    show.submit()
    assert show.episode().state is State.QUEUED, "not without its description"
    show.check()
    assert show.episode().description == "About 1."
    show.submit()
    assert [body["description"] for body in show.sandbox.taken] == ["About 1."]


def test_one_that_the_feed_no_longer_has_is_submitted_without(show: World) -> None:
    show.feeds.publish(1, 2)
    show.check()
    show.feeds.publish(2, 3)
    one = show.episode()
    show.store.episodes.save(one, episode_lifecycle.retried(one, show.now), show.now)
    show.check()
    show.submit()
    assert show.episode().state is State.PROCESSING
    assert show.episode().description == ""
