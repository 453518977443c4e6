"""What feedwatch reads of the real and the nasty feeds, another reader reads too.

Where the two differ, a rule of `DIFFERENCES` says why. A difference that none of them explains is
a fault in one of the two.
"""

import html
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import SequenceMatcher
from urllib.parse import unquote

import httpx
import pytest

from feedwatch.core.feed import Document, Item, ParsedFeed
from feedwatch.feeds.html_to_text import MAX_DESCRIPTION, MAX_TITLE
from feedwatch.feeds.scan import facts, split
from tests.feeds_corpus import Corpus
from tests.second_reading import Reading, letters, plain, second_reading
from tests.test_nasty_feeds import MEDIA, parse_all

URL = "https://feeds.example/some/show.xml"
WINDOWS = {n: bytes([n]).decode("cp1252", "ignore") for n in range(0x80, 0xA0)}
LOST = re.compile("[\ufeff\ufffd\uffff\ufffe]")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """An item as both read it."""

    ours: Item
    theirs: Reading
    well_formed: bool


def title(pair: Pair) -> bool:
    words = " ".join(pair.theirs.title.split())
    return pair.ours.title in (words, " ".join(plain(words).split()))


def enclosure(pair: Pair) -> bool:
    ours = str(httpx.URL(pair.ours.enclosure_url or ""))
    return unquote(ours) == unquote(next(iter(pair.theirs.enclosures), ""))


def description(pair: Pair) -> bool:
    """Whether it is the longest of theirs, or nearly: which says the most is a matter of taste."""
    ours, theirs = letters(pair.ours.description or ""), all_letters(pair)
    return ours in theirs and len(ours) >= 0.75 * max(map(len, theirs))


def all_letters(pair: Pair) -> list[str]:
    return [letters(plain(one)) for one in pair.theirs.descriptions] or [""]


AGREEMENTS: dict[str, Callable[[Pair], bool]] = {
    "guid": lambda pair: (pair.ours.guid or "") == next(iter(pair.theirs.guids), ""),
    "title": title,
    "enclosure": enclosure,
    "date": lambda pair: pair.ours.published_at == pair.theirs.published_at,
    "duration": lambda pair: pair.ours.duration == pair.theirs.duration,
    "description": description,
}


# Why they differ


def mended(text: str) -> Iterator[str]:
    """A text that was encoded twice, or with the controls of Latin-1, as it was meant."""
    yield text.translate(WINDOWS)
    for codec in ("latin-1", "cp1252"):
        with suppress(UnicodeError):
            yield text.encode(codec).decode()


def is_mended_title(pair: Pair) -> bool:
    return pair.ours.title in mended(pair.theirs.title)


def is_mended_description(pair: Pair) -> bool:
    ours = letters(pair.ours.description or "")
    return any(ours in map(letters, mended(plain(one))) for one in pair.theirs.descriptions)


def is_escaped_again(pair: Pair) -> bool:
    ours = letters(pair.ours.description or "")
    return any(
        ours in (letters(plain(plain(one))), letters(plain(html.unescape(one))))
        for one in pair.theirs.descriptions
    )


def differs_in_brackets(pair: Pair) -> bool:
    """Whether one has nothing that the other lacks but what stands between angle brackets."""
    ours = letters(pair.ours.description or "")
    for markup in pair.theirs.descriptions:
        theirs = letters(plain(markup))
        brackets = letters(
            " ".join(re.findall("<([^<>]*)>?", html.unescape(html.unescape(markup))))
        )
        pieces = SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes()
        changed = (ours[a:b] + theirs[c:d] for tag, a, b, c, d in pieces if tag != "equal")
        if Counter("".join(changed)) <= Counter(brackets):
            return True
    return False


def is_broken(pair: Pair) -> bool:
    """Whether one has nothing but more than the other, of an item that is not well-formed."""
    ours = letters(f"{pair.ours.title} {pair.ours.description}")
    theirs = letters(f"{pair.theirs.title} {' '.join(map(plain, pair.theirs.descriptions[:1]))}")
    pieces = SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes()
    return not pair.well_formed and all(tag != "replace" for tag, *_ in pieces)


def is_escaped_title(pair: Pair) -> bool:
    return pair.ours.title == " ".join(plain(plain(pair.theirs.title)).split())


def same_without(lost: re.Pattern[str], ours: str, theirs: str) -> bool:
    return " ".join(lost.sub(" ", ours).split()) == " ".join(lost.sub(" ", theirs).split())


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A kind of difference between the two readings."""

    field: str
    why: str
    explains: Callable[[Pair], bool]


BROKEN = "where a document is not well-formed, one reader sees more of an item than the other"
DIFFERENCES = (
    Difference(
        field="title",
        why="what was encoded twice, or has controls where windows-1252 has characters, is mended",
        explains=is_mended_title,
    ),
    Difference(
        field="title",
        why="byte order marks and what no character set has are left out, or replaced otherwise",
        explains=lambda pair: same_without(LOST, pair.ours.title, pair.theirs.title),
    ),
    Difference(
        field="title",
        why=f"it is cut at {MAX_TITLE} characters",
        explains=lambda pair: pair.theirs.title.startswith(pair.ours.title.removesuffix("…")),
    ),
    Difference(
        field="title",
        why="markup that was escaped twice is markup",
        explains=is_escaped_title,
    ),
    Difference(
        field="guid",
        why="byte order marks are trimmed like white space",
        explains=lambda pair: (
            [one.strip("\ufeff") for one in pair.theirs.guids] == [pair.ours.guid]
        ),
    ),
    Difference(
        field="guid",
        why="of two guids the last one counts",
        explains=lambda pair: (
            len(pair.theirs.guids) > 1 and pair.theirs.guids[-1] == pair.ours.guid
        ),
    ),
    Difference(
        field="date",
        why="what is no date, or is of no podcast's time, is not stated: nothing is guessed",
        explains=lambda pair: pair.ours.published_at is None,
    ),
    Difference(
        field="date",
        why="the standard library reads no month of another language, no PM and no zone like GMT+1",
        explains=lambda pair: (
            pair.theirs.published_at is None
            or bool(re.search(r" PM\b|GMT[+-]|/", pair.theirs.dates[0]))
        ),
    ),
    Difference(
        field="date",
        why="of two dates the last one counts",
        explains=lambda pair: len(pair.theirs.dates) > 1,
    ),
    Difference(
        field="enclosure",
        why="nothing but an address of the web, and of 8,000 characters at most, can be submitted",
        explains=lambda pair: (
            not any(
                re.match("(?i)https?://", one) and len(one) < 8_000
                for one in pair.theirs.enclosures
            )
        ),
    ),
    Difference(
        field="description",
        why="what was encoded twice, or has controls where windows-1252 has characters, is mended",
        explains=is_mended_description,
    ),
    Difference(
        field="description",
        why="markup that was escaped twice is markup, and HTML 5 has more characters' names",
        explains=is_escaped_again,
    ),
    Difference(
        field="description",
        why=f"it is cut at {MAX_DESCRIPTION} characters",
        explains=lambda pair: any(
            one.startswith(letters(pair.ours.description or "")) and len(one) > 30_000
            for one in all_letters(pair)
        ),
    ),
    Difference(
        field="description",
        why="words in angle brackets are text, unless closing or attributes make them markup",
        explains=differs_in_brackets,
    ),
    *(
        Difference(field=field, why=BROKEN, explains=is_broken)
        for field in ("guid", "title", "description")
    ),
)


def unexplained(
    pairs: Iterable[Pair], fields: Iterable[str], used: Counter[str]
) -> Iterator[tuple[str, Pair]]:
    """What of the pairs differs, and is no difference that is known; `used` counts those."""
    for pair in pairs:
        for field in fields:
            if AGREEMENTS[field](pair):
                continue
            known = (one for one in DIFFERENCES if one.field == field and one.explains(pair))
            if one := next(known, None):
                used[f"{one.field}: {one.why}"] += 1
            else:
                yield field, pair


def pairs_of(body: bytes, items: Sequence[Item]) -> list[Pair]:
    """The items as both read them; none where libxml2 has no answer.

    It gives up where a document is not well-formed, or not in the character set that it declares.
    """
    second = second_reading(body, URL)
    if second is None or len(second.items) < len(items):
        declared = re.search(rb"encoding=[\"'](?!utf-8)", body[:100], re.IGNORECASE)
        assert second is None or not second.well_formed or declared
        return []
    assert len(second.items) == len(items)
    return [
        Pair(ours=ours, theirs=theirs, well_formed=second.well_formed)
        for ours, theirs in zip(items, second.items, strict=True)
    ]


def test_what_the_fast_scan_reads_another_reader_reads_too(real_feeds: Corpus) -> None:
    fields, read = AGREEMENTS.keys() - {"description"}, 0
    for path in real_feeds.files("real")[::8]:
        outline = split.split(Document(body=path.read_bytes(), url=URL))
        if outline is None:
            continue
        looked = facts.facts(outline, range(len(outline.items)), MEDIA, URL)
        if looked is None or None in looked.items:
            continue
        pairs = pairs_of(path.read_bytes(), [one for one in looked.items if one is not None])
        assert not list(unexplained(pairs, fields, Counter())), path.name
        read += len(pairs)
    assert read > 1500


@pytest.mark.long
def test_every_item_of_every_document_is_read_as_another_reader_reads_it(
    real_feeds: Corpus,
) -> None:
    used: Counter[str] = Counter()
    items = read = 0
    for kind in ("real", "nasty"):
        for result in parse_all(real_feeds, real_feeds.files(kind)):
            if not isinstance(result.answer, ParsedFeed):
                continue
            pairs = pairs_of((real_feeds.folder / result.name).read_bytes(), result.items)
            assert not list(unexplained(pairs, AGREEMENTS, used)), result.name
            items, read = items + len(result.items), read + len(pairs)
    assert read > 0.99 * items
    assert used.keys() == {f"{one.field}: {one.why}" for one in DIFFERENCES}, "none is out of date"
