"""Documents that are known before they are split: of which nothing but the head has changed."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from feedwatch.core.feed import Document, Failed, ParsedFeed
from feedwatch.core.settings import Rules
from feedwatch.feeds import parse
from feedwatch.feeds.hashes import hashed
from feedwatch.feeds.scan import ChangedItems, all_items, changed_items, split
from feedwatch.feeds.scan.cache import NO_MARK, SeenItems
from tests.feeds_corpus import Corpus
from tests.support import item, one_in
from tests.support import rss as rss_of

RULES = Rules()
URL = "http://feeds.example.org/show/feed.xml"
BODY = rss_of(3, 2, item(1, title="Größe"))
DATE = b"<channel><lastBuildDate>Mon, 5 Jan 2026 06:00:00 GMT</lastBuildDate>"


class HereParser:
    """feedparser in this process."""

    def parse(self, document: Document, media_types: Sequence[str]) -> ParsedFeed | Failed:
        return parse.parse(document, media_types)

    def close(self) -> None:
        pass


def read(body: bytes, cache: SeenItems | None = None, charset: str | None = None) -> ChangedItems:
    document = hashed(Document(body=body, url=URL, charset=charset), RULES)
    found = changed_items(document, cache or SeenItems(rules=RULES), HereParser())
    found = found if found is not None else all_items(document, RULES, HereParser())
    assert isinstance(found, ChangedItems)
    return found


def remembered(body: bytes, rules: Rules = RULES) -> SeenItems:
    """The seen-item cache after a check in which each item became an episode."""
    found = read(body)
    packed = found.cache_with(range(1, len(found.keys) + 1))
    return SeenItems.unpacked(rules, packed) if packed is not None else SeenItems(rules=rules)


def without_mark(cache: SeenItems) -> SeenItems:
    return replace(cache, mark=NO_MARK)


def comparable(found: ChangedItems) -> tuple[object, ...]:
    parsed = replace(found.parsed, title="")
    return parsed, list(found.keys), found.unchanged, found.is_same


def agree(body: bytes, cache: SeenItems, charset: str | None = None) -> ChangedItems:
    """What is found, which is the same as without a mark."""
    found = read(body, cache, charset)
    assert comparable(found) == comparable(read(body, without_mark(cache), charset))
    return found


def test_a_document_with_another_head_alone_is_not_split(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = remembered(BODY)
    touched = BODY.replace(b"<channel>", DATE)
    assert agree(touched, cache).is_same

    def fail(_document: Document) -> None:
        raise AssertionError("it is split")

    monkeypatch.setattr(split, "split", fail)
    found = read(touched, cache)
    assert found.is_same
    assert (found.parsed.unchanged, found.parsed.items) == (3, ())
    kept = found.cache_with(())
    assert kept == cache.packed(), "and what is remembered stays"
    with pytest.raises(AssertionError):
        read(BODY.replace(b"Episode 3", b"Episode 4"), cache)


# The start tags are those of BODY, or nothing but them would be tried.
@pytest.mark.parametrize(
    ("before", "behind", "is_known"),
    [
        (b"<?xml version='1.0' encoding='utf-8'?>", b"", True),
        (b"\xef\xbb\xbf", b"", True),
        (b" \n<!-- as of today -->", b"<title>Another &amp; longer</title>", True),
        (b"", b"<image><title>One</title></image><x xmlns='http://x.example/'/>", True),
        (b"<?xml version='1.0' encoding='iso-8859-1'?>", b"", True),  # split, and the same
        (b"<?xml version='1.0' encoding='iso-2022-jp'?>", b"", False),
        (b"<!DOCTYPE rss [<!ENTITY x 'y'>]>", b"", False),
        (b"", b"<!-- ", False),
        (b"", b"<?note ", False),
        (b"", b"<x><![CDATA[", False),
        (b"", b"<image>", False),
        (b"", b"</channel><channel>", False),
        (b"", b"<item><title>One more</title></item>", False),
        (b"", b"<entry/>", False),
        (b"", b"<x xmlns='http://x.example/'><Item/></x>", False),
        (b"", b"<p:item xmlns:p='http://purl.org/rss/1.0/'/>", False),
        (b"", b"<title>\xff</title>", True),  # split, as it has to be repaired
        (b"", b" " * split.LONGEST_PIECE, False),
    ],
)
def test_whatever_head_stands_before_the_same_items_both_ways_say_the_same(
    before: bytes, behind: bytes, is_known: bool
) -> None:
    # What would end a comment, a processing instruction or a CDATA section may stand behind them.
    ends = b"<ttl>60</ttl> ?> --></channel>"
    body = BODY.replace(b"</channel>", ends)
    cache = remembered(body)
    assert cache.mark != NO_MARK
    root = body[body.index(b"<rss") : body.index(b"<channel>")] + b"<channel>"
    touched = before + root + behind + body[body.index(b"<item") :]
    document = hashed(Document(body=touched, url=URL), RULES)
    found = [changed_items(document, one, HereParser()) for one in (cache, without_mark(cache))]
    one, other = (comparable(x) if isinstance(x, ChangedItems) else x for x in found)
    assert one == other
    assert (isinstance(found[0], ChangedItems) and found[0].is_same) == is_known


@pytest.mark.parametrize(
    ("root", "channel"),
    [
        (b"<rss version='2.0'>", b"<channel>"),
        (b"<rss version='2.0' xmlns='http://www.w3.org/2005/Atom'>", b"<channel>"),
        (b"<rss version='2.0' xmlns:itunes='http://elsewhere.example/'>", b"<channel>"),
        (b"<rss version='2.0'>", b"<channel xml:base='http://elsewhere.example/'>"),
        (b"<rss version='2.0'>", b""),
        (b"", b""),
    ],
)
def test_within_other_start_tags_nothing_is_known(root: bytes, channel: bytes) -> None:
    cache = remembered(BODY)
    touched = root + channel + BODY[BODY.index(b"<item") :]
    found = changed_items(hashed(Document(body=touched, url=URL), RULES), cache, HereParser())
    assert not (isinstance(found, ChangedItems) and found.parsed.unchanged)


def test_the_same_bytes_in_another_character_set_are_other_items() -> None:
    latin = b"<?xml version='1.0' encoding='iso-8859-1'?>"
    rest = BODY[BODY.index(b"<rss") :].replace("ö".encode(), "ö".encode("latin-1"))
    cache = remembered(latin + rest)
    assert cache.mark != NO_MARK
    assert agree(latin + rest.replace(b"<channel>", DATE), cache).is_same
    assert not agree(rest, cache).is_same
    japanese = rss_of(1).replace(b"UTF-8", b"iso-2022-jp")
    assert remembered(japanese).mark == NO_MARK, "what its bytes mean depends on those before"


def test_an_entry_that_was_commented_out_is_seen_once_it_is_not() -> None:
    """What ends a comment may stand anywhere, and so may the first item of the rest."""
    draft = item(4).replace("item>", "entry>")
    rest = f"{draft} -->{item(1)}<ttl>60</ttl> --></channel></rss>".encode()
    head = b"<rss version='2.0'><channel>"
    cache = remembered(head + b"<!-- " + rest)
    assert len(cache.seen) == 1
    found = read(head + rest, cache)
    assert not found.is_same
    assert len(found.parsed.items) == 2


def test_a_mark_holds_for_its_rules_and_its_charset_alone() -> None:
    cache = remembered(BODY)
    touched = BODY.replace(b"<channel>", DATE)
    agree(touched, cache, charset="iso-8859-1")
    other = SeenItems.unpacked(Rules(media_types=("video/*",)), cache.packed())
    document = hashed(Document(body=touched, url=URL), other.rules)
    found = changed_items(document, other, HereParser())
    assert isinstance(found, ChangedItems)
    assert not found.parsed.unchanged


def test_what_is_not_remembered_as_a_whole_gets_no_mark() -> None:
    twice = rss_of(2, 1).replace(b"</channel>", item(1).encode() + b"</channel>")
    assert remembered(twice).mark == NO_MARK, "an item that stands there twice counts twice"
    odd = BODY.replace("ö".encode(), b"\xff")
    assert remembered(odd).mark == NO_MARK, "repaired"
    whole = all_items(hashed(Document(body=odd, url=URL), RULES), RULES, HereParser())
    assert isinstance(whole, ChangedItems)
    parsed = whole.cache_with([1, 2, 3])
    assert parsed is not None
    assert SeenItems.unpacked(RULES, parsed).mark == NO_MARK, "repaired, and parsed as a whole"
    packed = read(BODY).cache_with([1, None, 3])
    assert packed is not None
    assert SeenItems.unpacked(RULES, packed).mark == NO_MARK, "one is looked at again"
    bare = changed_items(Document(body=BODY, url=URL), SeenItems(rules=RULES), HereParser())
    assert isinstance(bare, ChangedItems)
    unhashed = bare.cache_with([1, 2, 3])
    assert unhashed is not None
    assert SeenItems.unpacked(RULES, unhashed).mark == NO_MARK


def test_what_an_older_version_remembered_is_void() -> None:
    cache = remembered(BODY)
    packed = cache.packed()
    for entries in (0, 1, 3):  # of format 4, in which no mark stood before the items
        older = b"k" * 16 + packed[16:17] + packed[33:][: 16 * entries]
        found = read(BODY, SeenItems.unpacked(RULES, older))
        assert (len(found.parsed.items), found.parsed.unchanged) == (3, 0)


@pytest.mark.parametrize("part", one_in(6, range(6)))
def test_of_every_feed_both_ways_say_the_same(real_feeds: Corpus, part: int) -> None:
    """Real ones and nasty ones, with a touched head and with one item less."""
    known = 0
    folders = [real_feeds.folder / name for name in ("real", "nasty")]
    paths: list[Path] = sorted(path for folder in folders for path in folder.glob("*.xml"))
    for path in paths[part::6]:
        body = path.read_bytes()
        if len(body) > 1_000_000:
            continue
        outline = split.split(Document(body=body, url=URL))
        if outline is None:
            continue
        cache = remembered(body)
        known += agree(body.replace(b"<channel>", DATE, 1), cache).is_same
        agree(body.replace(outline.items[-1], b"", 1), cache)
    assert known >= 10
