"""No document and no title keeps another thread of the daemon waiting.

What is measured is the CPU time that the process takes between two steps of a thread which only
wants to go on: a busy machine does not count, and a thread that does not let go does.
"""

import gc
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from feedwatch.config.title_pattern import TitlePattern
from feedwatch.core.feed import Document, Failed, ParsedFeed
from feedwatch.core.served import ProcessedFile
from feedwatch.core.settings import Rules
from feedwatch.feeds import layout
from feedwatch.feeds.layout import item_of, layout_of
from feedwatch.feeds.links import links_of
from feedwatch.feeds.parser_process import Parser
from feedwatch.feeds.polling_hints import hints_of
from feedwatch.feeds.rewrite import Edition, rewritten
from feedwatch.feeds.scan import all_items, changed_items
from feedwatch.feeds.scan.cache import SeenItems
from feedwatch.feeds.scan.split import LONGEST_PIECE
from feedwatch.feeds.well_formed import is_well_formed, packed, unpacked, well_formed
from tests.feeds_corpus import Corpus, real_feeds
from tests.pace import slowness
from tests.support import one_in

__all__ = ["real_feeds"]

MOST_DELAY = 0.1  # seconds of CPU
RUNS = 10  # at most; the best counts, since other processes share the caches
MEGABYTE = 1_000_000
PIECE = LONGEST_PIECE - 100  # what is longer does not come near expat
ENDS = "<enclosure url='https://h.example/1.mp3' type='audio/mpeg'/></item>"


@pytest.fixture(autouse=True, scope="module")
def _little_to_look_for_garbage_among() -> Iterator[None]:
    """As the daemon does at its start: to look among all that pytest has takes 0.1 s."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def delays_nobody(act: Callable[[], object]) -> None:
    """Fail if another thread has to wait for too long whenever `act` is at work."""
    delays: list[float] = []
    while not delays or delays[-1] >= MOST_DELAY:
        assert len(delays) < RUNS, f"another thread waited for {delays} s"
        delays.append(delay_by(act) / slowness())


def delay_by(act: Callable[[], object]) -> float:
    """The CPU time that another thread has to wait for at most while `act` is at work."""
    gc.collect()  # what was left before
    worst, over, ready = 0.0, threading.Event(), threading.Event()

    def go_on() -> None:
        nonlocal worst
        last = time.process_time()
        while not over.is_set():
            ready.set()
            time.sleep(0.0005)
            now = time.process_time()
            worst, last = max(worst, now - last), now

    thread = threading.Thread(target=go_on)
    thread.start()
    ready.wait()
    try:
        act()
    finally:
        over.set()
        thread.join()
    return worst


class NoParser:
    """Whatever is left to a parser is out of this process."""

    def parse(self, document: Document, media_types: object) -> ParsedFeed | Failed:  # noqa: ARG002
        return Failed("left to the parser")

    def close(self) -> None:
        pass


def rss(items: str = f"<item><guid>1</guid>{ENDS}", head: str = "", tail: str = "") -> str:
    return f"<rss version='2.0'><channel>{head}{items}{tail}</channel></rss>"


def item(inside: str) -> str:
    return rss(f"<item><guid>1</guid>{inside}{ENDS}")


def repeated(one: str, length: int) -> str:
    return one * (length // len(one))


def attributes(length: int, form: str = "a%07d=''") -> str:
    """A start tag of this length."""
    one = len(form % 0) + 1
    return "<x " + " ".join(form % number for number in range(length // one - 1)) + "/>"


NAMESPACES = "xmlns:a%07d='u'"
DOCUMENTS: dict[str, Callable[[], str]] = {
    "a tail of one tag, 35 MB": lambda: rss(tail=attributes(35 * MEGABYTE)),
    "a tail of one tag": lambda: rss(tail=attributes(PIECE)),
    "a tail of namespaces": lambda: rss(tail=attributes(PIECE, NAMESPACES)),
    "a tail of small tags": lambda: rss(tail=repeated("<x/>", 19 * MEGABYTE)),
    "a deep tail": lambda: rss(tail="<x>" * 30_000 + "</x>" * 30_000),
    "a comment for a tail, 35 MB": lambda: rss(tail=f"<!--{'y' * 35 * MEGABYTE}-->"),
    "a tail of spaces": lambda: rss(tail=" " * 35 * MEGABYTE),
    "a head of one tag": lambda: rss(head=attributes(PIECE)),
    "a head of one tag, 1 MB": lambda: rss(head=attributes(MEGABYTE)),
    "a head of namespaces": lambda: rss(head=attributes(PIECE, NAMESPACES)),
    "a head of small tags": lambda: rss(head=repeated("<x/>", PIECE)),
    "a head of entities": lambda: (
        "<!DOCTYPE rss [<!ENTITY a '"
        + "y" * 100_000
        + "'>]>"
        + rss(head="<x>" + "&a;" * 200 + "</x>")
    ),
    "a root with many attributes": lambda: rss().replace(
        "<rss ", attributes(PIECE).replace("<x", "<rss").removesuffix("/>")
    ),
    "broken items below a root with many attributes": lambda: rss(
        f"<item>&{ENDS}" * 10_000
    ).replace("<rss ", attributes(PIECE, NAMESPACES).replace("<x", "<rss").removesuffix("/>")),
    "an item of one tag": lambda: item(attributes(PIECE)),
    "an item of one tag, 1 MB": lambda: item(attributes(MEGABYTE)),
    "fifty items of one tag": lambda: rss(item(attributes(PIECE))[28:-16] * 50),
    "an item of enclosures": lambda: item(repeated("<enclosure url='a' type='audio/a'/>", PIECE)),
    "an enclosure at the end of many folders": lambda: item("").replace(
        "h.example/", "h.example/" + repeated("a/../", PIECE)
    ),
    "a title that was escaped often": lambda: item(
        f"<title>{repeated('&amp;lt;b&amp;gt;', PIECE)}</title>"
    ),
    "a title of brackets": lambda: item(f"<title>{repeated('&lt;', PIECE)}</title>"),
    "a title that was decoded wrongly": lambda: item(f"<title>{'Ã¼' * 60_000}</title>"),
    "a long date": lambda: item(f"<pubDate>{repeated('1 ', PIECE)}</pubDate>"),
    "a long guid": lambda: item("").replace("<guid>1", "<guid>" + repeated("x ", PIECE)),
    "a stray ampersand, often": lambda: item("&" * PIECE),
    "20,000 items": lambda: rss(f"<item>{ENDS}" * 20_000),
    "two million items": lambda: rss("<item></item>" * 2_000_000),
    "a long text beside one letter that is not ASCII": lambda: rss(
        f"<item><title>ä</title><description>{repeated('word ', PIECE)}</description>{ENDS}"
    ),
    "a long text in Latin letters": lambda: item(
        f"<description>{repeated('wörd ', PIECE)}</description>"
    ),
    "a head of comments that do not end": lambda: rss(head=repeated("<!--", PIECE)),
    "a tail of comments that do not end": lambda: rss(tail=repeated("<!--", PIECE)),
    "a new address of spaces": lambda: rss(head=f"<itunes:new-feed-url>{' ' * PIECE}"),
    "links that do not end": lambda: rss(head=repeated("<link rel='next' href='", PIECE)),
    "a declaration that does not end": lambda: "<?xml " + " " * 10 * MEGABYTE + rss(),
}


def scanned(document: Document) -> None:
    """All that a check does with a document in the daemon's process."""
    hints_of(document.body)
    links_of(document.body, document.url)
    changed_items(document, SeenItems(rules=Rules()), NoParser())


def laid_out(body: bytes) -> None:
    """All that is done with a document that is served, in the daemon's process."""
    if not is_well_formed(body):
        return
    found = layout_of(body)
    places = range(len(found.items))
    for element in found.items:
        item_of(element, ["audio/*"], "https://h.example/feed.xml")
    file = ProcessedFile(url="https://h.example/processed.mp3")
    edition = Edition(url="https://h.example/feeds/show.xml")
    assert is_well_formed(rewritten(found, dict.fromkeys(places, file), edition))


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize("encoding", one_in(2, ["utf-8", "windows-1252"]))
def test_no_document_keeps_another_thread_waiting(name: str, encoding: str) -> None:
    codec = "latin-1" if encoding == "windows-1252" and "letter" in name else "utf-8"
    body = f"<?xml version='1.0' encoding='{encoding}'?>{DOCUMENTS[name]()}".encode(codec)
    document = Document(body=body, url="https://h.example/feed.xml")
    delays_nobody(lambda: scanned(document))


def test_no_answer_of_the_parser_keeps_another_thread_waiting() -> None:
    text = "<description>" + "word " * 200 + "</description>"
    document = Document(body=rss(f"<item>{text}{ENDS}" * 5_000).encode(), url="https://h.example")
    with Parser() as parser:
        parser.parse(Document(body=rss().encode(), url="https://h.example"), ["audio/*"])

        def parsed() -> None:
            assert not isinstance(all_items(document, Rules(), parser), Failed)

        delays_nobody(parsed)


@pytest.mark.slow
def test_none_of_the_nasty_documents_keeps_another_thread_waiting(real_feeds: Corpus) -> None:
    for file in real_feeds.files("nasty"):
        document = Document(body=file.read_bytes(), url="https://h.example/feed.xml")
        delays_nobody(lambda: scanned(document))  # noqa: B023


@pytest.mark.long  # to make them fit to be served takes most of it, in the parser's process
def test_none_of_them_does_when_it_is_served(real_feeds: Corpus) -> None:
    for file in real_feeds.files("nasty"):
        document = Document(body=file.read_bytes(), url="https://h.example/feed.xml")
        kept = packed(document)
        if not isinstance(kept, Failed):
            body = unpacked(kept)
            delays_nobody(lambda: laid_out(body))  # noqa: B023


UNMENDABLE = {
    "comments that do not end": lambda: "<!--" * 20_000,
    "instructions that do not end": lambda: "<?" * 40_000,
    "document types that do not end": lambda: "<!DOCTYPE[" * 8_000,
    "sections that do not end": lambda: "<![CDATA[" * 9_000,
    "prefixes that nothing declares": lambda: "".join(f"<p{n}:x/>" for n in range(10_000)),
    "references": lambda: "&#" * 40_000,
    "spaces": lambda: "<x" + " " * 80_000,
}


@pytest.mark.parametrize("name", UNMENDABLE)
def test_no_document_takes_long_to_be_found_unmendable(name: str) -> None:
    document = Document(body=rss(UNMENDABLE[name]() + "<").encode(), url="https://h.example")
    # In the parser's process; each of these took seconds there.
    delays_nobody(lambda: well_formed(document))


LAID_OUT = {
    "one tag": lambda: attributes(3 * MEGABYTE),
    "a tag as long as one may be": lambda: attributes(60_000),
    "a tag of namespaces": lambda: attributes(60_000, NAMESPACES),
    "a tag that ends in spaces": lambda: item(f"<enclosure url='a' type='audio/a'{' ' * 60_000}/>"),
    "a comment": lambda: rss(f"<!--{'y' * 35 * MEGABYTE}-->"),
    "words": lambda: rss(f"<item><title>{'words ' * 5 * MEGABYTE}</title>{ENDS}"),
    "many items": lambda: rss(f"<item><guid>1</guid><title>T</title>{ENDS}" * 20_000),
    "bases within bases": lambda: rss(f"<x xml:base='{'a/' * 2_000}'>" * 500 + "</x>" * 500),
    "alternates": lambda: item(
        "<p:alternateEnclosure xmlns:p='https://podcastindex.org/namespace/1.0'>"
        "<p:source uri='a.mp3'/><p:integrity/></p:alternateEnclosure>" * 3_000
    ),
    "style sheets": lambda: "<?xml-stylesheet?>" * 50_000 + rss(),
}


@pytest.mark.parametrize("name", LAID_OUT)
def test_no_document_that_is_served_keeps_another_thread_waiting(name: str) -> None:
    body = LAID_OUT[name]().encode()
    delays_nobody(lambda: laid_out(body))


def test_a_document_of_too_many_elements_is_not_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "MOST_ELEMENTS", 1_000)
    document = Document(body=rss("<x/>" * 1_000).encode(), url="https://h.example")
    answer = packed(document)
    assert isinstance(answer, Failed)
    assert "more than 1000 elements" in answer.reason


@pytest.mark.parametrize(
    ("pattern", "title"),
    [
        ("^(a|aa)+$", "a" * 60 + "!"),
        (r"^(\w+\s?)*$", "w" * 41 + "!"),
        (r"^(([a-z])+.)+[A-Z]([a-z])+$", "a" * 999),
        (r"(.*)(.*)(.*)(.*)(.*)[^a]$", "a" * 1000),
        (r"(?=(a+))a*b\1", "a" * 1000),
    ],
)
def test_no_title_keeps_another_thread_waiting_whatever_the_pattern(
    pattern: str, title: str
) -> None:
    compiled = TitlePattern(pattern)

    def sought() -> None:
        assert compiled.found_in(title) is not True

    delays_nobody(sought)
