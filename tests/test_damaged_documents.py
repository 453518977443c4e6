"""What is told of a document that is damaged: that it was repaired, and what of it was not read."""

import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from feedwatch.core.episode import State
from feedwatch.core.feed import Document, ParsedFeed
from feedwatch.core.settings import Rules
from feedwatch.feeds import parse
from feedwatch.feeds.scan import ChangedItems, all_items, changed_items
from feedwatch.feeds.scan.cache import SeenItems
from tests.support import item, one_in, rss
from tests.test_evaluate import Way
from tests.test_scan import TITLES, mutations

URL = "http://feeds.example.org/show/feed.xml"
RULES = Rules()


class Feedparser:
    """`parse.parse` as a parser, in this process."""

    def parse(self, document: Document, media_types: Sequence[str]) -> ParsedFeed:
        parsed = parse.parse(document, media_types)
        assert isinstance(parsed, ParsedFeed), parsed
        return parsed

    def close(self) -> None:
        pass


def parsed(body: bytes) -> ParsedFeed:
    return Feedparser().parse(Document(body=body, url=URL), RULES.media_types)


def with_broken(part: str) -> bytes:
    quoted = item(2, more="<itunes:summary><![CDATA[x]]></itunes:summary><!-- y -->")
    return rss(item(3, more=part), quoted, 1)


SWALLOWING = {
    "a misspelt end tag": "<itunes:summary>abc</itunes:sumary>",
    "an end tag that is missing": "<description>abc",
    "CDATA that is closed further down": "<itunes:summary><![CDATA[abc]></itunes:summary>",
    "a comment that is never closed": "<!-- abc ->",
}
REPAIRED = {
    "a bare ampersand": "<itunes:author>Bell & Sons</itunes:author>",
    "an attribute without quotes": "<itunes:image href=x.png/>",
    "a prefix that is not declared": "<foo:bar>x</foo:bar>",
    "a reference to no character": "<itunes:author>&#2;</itunes:author>",
}


@pytest.mark.parametrize("part", SWALLOWING.values(), ids=SWALLOWING)
def test_items_that_are_not_read_are_counted(part: str) -> None:
    body = with_broken(part)
    found = parsed(body)
    read = sum(one.enclosure_url is not None for one in found.items)
    assert read < 3
    assert found.unread >= 3 - read


def test_an_item_whose_enclosure_alone_is_not_read_counts() -> None:
    media = "<enclosure url='http://x.example/1.mp3'/>"
    found = parsed(rss(f"<item><title>x</title><description>abc</descripton>{media}</item>"))
    assert [one.enclosure_url for one in found.items] == [None]
    assert found.unread == 1


@pytest.mark.parametrize("part", REPAIRED.values(), ids=REPAIRED)
def test_what_is_repaired_without_loss_has_nothing_unread(part: str) -> None:
    found = parsed(with_broken(part))
    assert len(found.items) == 3
    assert (found.repaired, found.unread) == (True, 0)


@pytest.mark.parametrize(
    "part",
    [
        "",
        "<itunes:summary><![CDATA[<item><enclosure url='x'/></item>]]></itunes:summary>",
        "<!-- <item> <enclosure url='x'/> -->",
        "<itunes:summary>&lt;item>&lt;enclosure url='x'/></itunes:summary>",
        "<itunes:summary><![CDATA[a --> b <!-- c]]></itunes:summary>",
        "<enclosure url='http://x.example/2.mp3'/>",
        "<items>x</items><enclosures/>",
    ],
)
def test_a_sound_document_is_neither_repaired_nor_unread(part: str) -> None:
    found = parsed(with_broken(part))
    assert (found.repaired, found.unread) == (False, 0)


def test_what_is_put_aside_on_purpose_is_not_missed() -> None:
    live = (
        '<podcast:liveItem xmlns:podcast="https://podcastindex.org/namespace/1.0">'
        "<title>Live & well</title><enclosure url='http://x.example/live.mp3'/></podcast:liveItem>"
    )
    body = rss(3, 2).replace(b"</title>\n", f"</title><enclosure url='x'/>{live}".encode(), 1)
    found = parsed(body)
    assert (found.repaired, found.unread) == (True, 0)


def test_the_fast_scan_tells_of_a_repair_also_where_the_broken_item_was_seen_before() -> None:
    """The item with the bare ampersand is not read again; it still makes the document damaged."""
    broken = item(1, more="<itunes:author>Bell & Sons</itunes:author>")
    rules, parser = RULES, Feedparser()
    for first, second, repaired in (
        (rss(2, broken), rss(3, 2, broken), True),
        (rss(2, 1), rss(3, 2, 1), False),
        (rss(2, 1), rss(3, 2, broken), True),
    ):
        whole = all_items(Document(body=first, url=URL), rules, parser)
        assert isinstance(whole, ChangedItems)
        packed = whole.cache_with([1] * 2)
        assert packed is not None
        cache = SeenItems.unpacked(rules, packed)
        changed = changed_items(Document(body=second, url=URL), cache, parser)
        assert isinstance(changed, ChangedItems)
        assert changed.parsed.unchanged in (1, 2)
        assert changed.parsed.repaired is repaired


@pytest.mark.parametrize("part", SWALLOWING.values(), ids=SWALLOWING)
def test_the_fast_scan_leaves_a_document_that_may_not_be_read_in_whole(part: str) -> None:
    body = with_broken(part)
    assert changed_items(Document(body=body, url=URL), SeenItems(rules=RULES), Feedparser()) is None


@pytest.mark.parametrize("seed", one_in(25, range(25)))
def test_damage_submits_nothing(tmp_path: Path, seed: int) -> None:
    """A known document with one to three wounds: 40 of each seed, a thousand in the longer run."""
    dice = random.Random(seed)
    more = "<itunes:duration>1800</itunes:duration>"
    good = rss(*(item(n, title=f"{TITLES[n]} {n}", more=more) for n in range(6, 0, -1)))
    before = Way(tmp_path / "before.db")
    before.check(good)
    before.close()
    for _ in range(40):
        body = good
        for _ in range(dice.randint(1, 3)):
            body = dice.choice(list(mutations(body, dice)))
        shutil.copy(tmp_path / "before.db", tmp_path / "after.db")
        after = Way(tmp_path / "after.db")
        after.check(body)
        queued = after.store.episodes.find(states=[State.QUEUED])
        after.close()
        assert queued == [], body
