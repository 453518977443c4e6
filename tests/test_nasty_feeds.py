"""The parser over feeds as real hosts serve them, and over documents that break parsers.

By two workers at once: all that is nasty and not huge, and every twelfth real feed; all of these
in the longer run.
"""

import os
import re
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from feedwatch.core.feed import Document, Failed, Item, ParsedFeed
from feedwatch.feeds import parser_process
from feedwatch.feeds.html_to_text import MAX_DESCRIPTION, MAX_TITLE
from feedwatch.feeds.parser_process import Parser
from feedwatch.feeds.scan import facts, split
from tests.feeds_corpus import Corpus, real_feeds
from tests.support import one_in

__all__ = ["real_feeds"]

pytestmark = [pytest.mark.slow]

MEDIA = ("audio/*", "video/*")
WORKERS = 2

# Where we rightly see another number of items with an enclosure than the manifest, which counts
# elements named enclosure whatever they hold.
OTHER_COUNTS = {
    "real/unknown--el-pais-in-english.xml": 2,  # two videos in media:content
    "real/wordpress--cory-forsyth.xml": 1,  # one in an Atom link
}
CUT_SHORT = {"real/libsyn--the-james-altucher-show.xml"}  # ends within its 197th item


@dataclass(frozen=True)
class Result:
    name: str
    answer: ParsedFeed | Failed
    seconds: float  # of the processor's time
    limit: float

    @property
    def items(self) -> tuple[Item, ...]:
        return self.answer.items if isinstance(self.answer, ParsedFeed) else ()


def seconds_of(parser: Parser) -> float:
    """The processor's time that its child has taken; 0 without one."""
    if parser._child is None:
        return 0.0
    stat = Path(f"/proc/{parser._child.pid}/stat").read_text()
    user, system = stat.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def parse_all(corpus: Corpus, files: Sequence[Path]) -> Iterator[Result]:
    of_thread = threading.local()
    parsers = []

    def start() -> None:
        of_thread.parser = Parser()
        parsers.append(of_thread.parser)

    def parse(file: Path) -> Result:
        body = file.read_bytes()
        limit = parser_process.SECONDS + parser_process.SECONDS_PER_MEGABYTE * len(body) / 1_000_000
        parser: Parser = of_thread.parser
        before = seconds_of(parser)
        answer = parser.parse(Document(body=body, url="https://feeds.example/some/show.xml"), MEDIA)
        name = file.relative_to(corpus.folder).as_posix()
        return Result(name, answer, seconds_of(parser) - before, limit)

    try:
        with ThreadPoolExecutor(WORKERS, initializer=start) as pool:
            yield from pool.map(parse, files)
    finally:
        for parser in parsers:
            parser.close()


HUGE = 1_000_000  # bytes; the two documents that have more are for the longer run


@pytest.fixture(scope="module", params=one_in(2, [HUGE, 10**9]), ids=["not huge", "all"])
def nasty(real_feeds: Corpus, request: pytest.FixtureRequest) -> list[Result]:
    files = [one for one in real_feeds.files("nasty") if one.stat().st_size < request.param]
    return list(parse_all(real_feeds, files))


@pytest.fixture(scope="module", params=one_in(2, [12, 1]))
def real(real_feeds: Corpus, request: pytest.FixtureRequest) -> list[Result]:
    return list(parse_all(real_feeds, real_feeds.files("real", every=request.param)))


def test_the_collection_is_all_there(real_feeds: Corpus) -> None:
    assert len(real_feeds.files("nasty")) > 150
    assert len(real_feeds.files("real")) > 100


def test_every_nasty_document_gives_items_or_a_reason_or_is_an_empty_feed(
    nasty: list[Result], real_feeds: Corpus
) -> None:  # fmt: skip
    for result in nasty:
        if isinstance(result.answer, Failed):
            assert re.fullmatch(r"[^\s].{10,500}", result.answer.reason), result.name
        elif not result.items:
            body = (real_feeds.folder / result.name).read_bytes().decode(errors="replace")
            assert not re.search(r"<(item|entry)[\s>]", body.replace("\0", "")), result.name


def test_no_nasty_document_is_parsed_longer_than_it_may(nasty: list[Result]) -> None:
    for result in nasty:
        # The time of a child that was killed is gone with it, but then it was given up in time.
        given_up = isinstance(result.answer, Failed) and "took longer" in result.answer.reason
        assert given_up or 0 <= result.seconds < result.limit + 0.5, result.name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("h-empty", "empty"),
        ("h-html-maintenance", 'HTML page, not a feed: "Down for maintenance"'),
        ("h-html-challenge", "HTML page"),
        ("h-text-error-1022", '"error code: 1022"'),
        ("h-json-feed", "JSON"),
        ("h-s3-accessdenied", "<Error>"),
        ("h-soap-fault", "<s:Envelope>"),
        ("h-gzip-truncated", "cut short"),
        ("h-gzip-bomb", "more than 50 MB"),
        ("h-truncated-mid-item", "cut short"),
        ("h-truncated-mid-char", "cut short"),
    ],
)
def test_what_is_no_whole_feed_says_why(nasty: list[Result], name: str, words: str) -> None:
    (result,) = (result for result in nasty if result.name == f"nasty/{name}.xml")
    assert isinstance(result.answer, Failed)
    assert words in result.answer.reason


@pytest.mark.long
def test_sixty_thousand_items_are_too_many(real_feeds: Corpus) -> None:
    files = [one for one in real_feeds.files("nasty") if one.stem == "h-huge-60k-tiny-items"]
    (result,) = parse_all(real_feeds, files)
    assert isinstance(result.answer, Failed)
    assert "more than 20000 items" in result.answer.reason


@pytest.mark.parametrize(
    ("name", "count", "enclosures"),
    [
        ("h-channel-no-items", 0, 0),
        ("h-gzip-twice", 5, 5),
        ("h-bom-then-blank", 5, 5),
        ("h-trailing-html", 5, 5),
        ("h-ctrl-charref", 1, 1),
        ("h-enc-alternate-only", 1, 1),
        ("h-enc-image-first", 1, 1),
        ("h-enc-none", 3, 0),
        ("h-enc-relative", 4, 4),
        ("h-enc-schemes", 6, 1),
        ("h-enc-url-10k", 1, 0),
        ("h-entity-billion-laughs", 1, 1),
        ("h-live-item", 2, 2),
        ("h-enc-utf16-bom-declares-utf8", 3, 3),
        ("f-kagisearch-integration_utf16_encoded", 1, 0),
    ],
)
def test_what_can_be_read_is_read(
    nasty: list[Result], name: str, count: int, enclosures: int
) -> None:
    (result,) = (result for result in nasty if result.name == f"nasty/{name}.xml")
    assert isinstance(result.answer, ParsedFeed), result.answer
    assert len(result.items) == count
    assert sum(item.enclosure_url is not None for item in result.items) == enclosures


def test_every_real_feed_gives_all_its_items(
    real: list[Result], real_feeds: Corpus
) -> None:  # fmt: skip
    for result in real:
        row = real_feeds.row(real_feeds.folder / result.name)
        if result.name in CUT_SHORT:
            assert isinstance(result.answer, Failed)
            assert "cut short" in result.answer.reason
        else:
            assert result.items, result
            assert row is None or len(result.items) == int(row["items"]), result.name


def test_every_real_enclosure_is_found(
    real: list[Result], real_feeds: Corpus
) -> None:  # fmt: skip
    if not real_feeds.manifest:
        pytest.skip("the collection has no manifest.tsv beside it")
    for result in real:
        if result.name not in CUT_SHORT:
            found = sum(item.enclosure_url is not None for item in result.items)
            stated = real_feeds.manifest[result.name]["items_with_enclosure"]
            assert found == OTHER_COUNTS.get(result.name, int(stated)), result.name


def test_the_fast_scan_reads_nearly_all_of_the_real_feeds_and_just_as_feedparser_does(
    real: list[Result], nasty: list[Result], real_feeds: Corpus
) -> None:
    read = total = 0
    for result in (*real, *nasty):
        body = (real_feeds.folder / result.name).read_bytes()
        outline = split.split(Document(body=body, url="https://feeds.example/some/show.xml"))
        if outline is None or isinstance(result.answer, Failed):
            continue
        places = range(len(outline.items))
        looked = facts.facts(outline, places, MEDIA, "https://feeds.example/some/show.xml")
        if looked is None:
            continue
        assert len(result.items) == len(looked.items), result.name
        for mine, theirs in zip(looked.items, result.items, strict=True):
            assert mine in (None, replace(theirs, description=None)), result.name
        if result.name.startswith("real/"):
            read += sum(one is not None for one in looked.items)
            total += len(looked.items)
    assert read >= 0.98 * total, "it spares feedparser nearly everything"


def test_what_is_submitted_is_clean(real: list[Result], nasty: list[Result]) -> None:
    # What is closed or has attributes: "Vec<A>" and the element <b> are what an episode is about.
    tag = re.compile(r"</(p|div|span|a|strong|em|ul|h[1-6])>|<(a|img|p|div|span)\s[\w-]+=|<br ?/?>")
    for result in (*real, *nasty):
        for item in result.items:
            assert item.description is not None
            assert not tag.search(item.description), result.name
            assert not tag.search(item.title), result.name
            assert len(item.title) <= MAX_TITLE
            assert len(item.description) <= MAX_DESCRIPTION
            assert "\n" not in item.title
            assert item.guid is None or item.guid == item.guid.strip() != ""
            if item.enclosure_url is not None:
                assert re.fullmatch(r"https?://[!-~]+", item.enclosure_url)
            if item.published_at is not None:
                assert 1990 <= item.published_at.year <= 2100


def test_nearly_every_real_item_has_a_date_a_title_and_a_guid(real: list[Result]) -> None:
    found = [item for result in real for item in result.items]
    assert sum(item.published_at is None for item in found) < len(found) / 300
    assert sum(not item.title for item in found) < len(found) / 500
    assert sum(item.guid is None for item in found) < len(found) / 10
    assert sum(not item.description for item in found) < len(found) / 20
