"""The fast scan reads what feedparser reads, or nothing."""

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
from feedparser.mixin import _FeedParserMixin

from feedwatch.core.feed import Document, Failed, Item, ParsedFeed
from feedwatch.feeds import feedparser_patches, parse
from feedwatch.feeds.namespaces import OURS, PREFIXES
from feedwatch.feeds.scan import facts, split
from tests.support import item, one_in
from tests.support import rss as rss_of

MEDIA = ("audio/*", "video/*")
URL = "http://feeds.example.org/show/feed.xml"
ITUNES = 'xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd"'


def document(*items: str, root: str = f'<rss version="2.0" {ITUNES}>', head: str = "") -> bytes:
    return f"{root}<channel><title>A show</title>{head}{''.join(items)}</channel></rss>".encode()


def scanned_items(given: Document) -> list[Item | None] | None:
    """What the fast scan reads: an item each, None where it is not sure; None if of all."""
    outline = split.split(given)
    if outline is None:
        return None
    looked = facts.facts(outline, range(len(outline.items)), MEDIA, URL)
    return None if looked is None else list(looked.items)


def fully(body: bytes) -> list[Item]:
    parsed = parse.parse(Document(body=body, url=URL), MEDIA)
    assert isinstance(parsed, ParsedFeed), parsed
    return [replace(one, description=None) for one in parsed.items]


def agrees(
    body: bytes, parsed: ParsedFeed | Failed | None = None, charset: str | None = None
) -> int:
    """How many items the fast scan has read, each just as feedparser does."""
    given = Document(body=body, url=URL, charset=charset)
    scanned = scanned_items(given)
    if scanned is None:
        return 0
    parsed = parsed or parse.parse(given, MEDIA)
    assert isinstance(parsed, ParsedFeed), "the fast scan reads what is no feed"
    assert len(parsed.items) == len(scanned)
    pairs = [(a, b) for a, b in zip(scanned, parsed.items, strict=True) if a is not None]
    for mine, theirs in pairs:
        assert mine == replace(theirs, description=None)
    return len(pairs)


def test_both_ways_give_the_same_items_of_an_ordinary_feed() -> None:
    body = rss_of(
        *(item(number, more="<itunes:duration>1:02:03</itunes:duration>") for number in range(9))
    )
    assert agrees(body) == 9
    assert scanned_items(Document(body=body, url=URL)) == fully(body)


@pytest.mark.parametrize(
    "inside",
    [
        "<title>A <b>bold</b> word</title>",
        "<title>One</title><title>Two</title>",
        "<title></title><itunes:title>Only here</itunes:title>",
        "<itunes:title>First</itunes:title><title>Second</title>",
        "<title>  Q&amp;A &lt;b&gt;live&lt;/b&gt;  </title>",
        "<title><![CDATA[Mötley &amp; Crüe]]></title>",
        "<title>GrÃ¼ÃŸe</title>",
        "<title>\x85 and \x92</title>",
        "<image><title>Before</title></image><title>After</title>",
        "<title>Before</title><image><title>After</title></image>",
        "<guid>  spaced  </guid>",
        "<guid>https://x.example/?a=1&amp;b=2</guid>",
        "<guid>one</guid><guid>two</guid>",
        '<guid isPermaLink="true">/relative</guid>',
        "<pubDate>yesterday</pubDate>",
        "<pubDate></pubDate>",
        "<pubDate>Tue, 08 Mar 2022 15:30:00 -3000</pubDate>",
        "<pubDate>Sat, 07 Mar 2009 24:28:20 CST</pubDate>",
        "<pubDate>2024-05-01T10:00:00+02:00</pubDate>",
        "<pubDate>May 1st 2024</pubDate>",
        '<dc:date xmlns:dc="http://purl.org/dc/elements/1.1/">2024-05-01</dc:date>',
        "<published>2024-05-01</published>",
        "<id>other</id>",
        '<enclosure url="/relative.mp3" type="audio/mpeg"/>',
        """<enclosure url="http://x.example/b.mp4" type="video/mp4"/>
        <enclosure url="http://x.example/a.mp3" type="audio/mpeg"/>""",
        '<link rel="enclosure" href="http://x.example/a.mp3"/>',
        '<enclosure xml:base="http://other.example/" url="a.mp3" type="audio/mpeg"/>',
        """<media:content xmlns:media="http://search.yahoo.com/mrss/" url="http://x.example/m.mp3"
        type="audio/mpeg" isDefault="true"/>""",
        """<media:content xmlns:media="http://elsewhere.example/" url="http://x.example/m.mp3"
        type="audio/mpeg"/>""",
        """<podcast:alternateEnclosure xmlns:podcast="https://podcastindex.org/namespace/1.0"
        type="audio/mpeg"><podcast:source uri="http://x.example/p.mp3"/>
        </podcast:alternateEnclosure>""",
        "<itunes:duration>62:03</itunes:duration>",
        '<itunes:duration unit="s">62</itunes:duration>',
        "<itunes:episodeType>Trailer</itunes:episodeType>",
        "<itunes:episodetype>bonus</itunes:episodetype>",
        '<other:duration xmlns:other="http://elsewhere.example/">62</other:duration>',
        '<itunes:duration xmlns:itunes="http://elsewhere.example/">62</itunes:duration>',
        "<description><title>A title inside</title></description>",
        "<source url='http://x.example/'>Elsewhere</source>",
        "<PubDate>Tue, 08 Mar 2022 15:30:00 GMT</PubDate>",
        "<description>&nbsp;</description>",
    ],
)
def test_where_the_fast_scan_reads_an_item_it_reads_what_feedparser_reads(inside: str) -> None:
    plain = '<enclosure url="http://x.example/1.mp3" type="audio/mpeg"/>'
    agrees(document(f"<item>{inside}{plain}</item>", f"<item><title>x</title>{plain}</item>"))
    agrees(document(f"<item>{plain}{inside}</item>"))


@pytest.mark.parametrize(
    "body",
    [
        document("<item><title>A</title></item>", root='<rss xmlns="http://x.example/">'),
        document("<!-- <item><title>A</title></item> -->"),
        document("<!-- <item><title>A</title></item><ttl>60</ttl> -->"),
        document("<?note <item><title>A</title></item><ttl>60</ttl> ?>"),
        document("<description><![CDATA[<item><title>A</title></item><br/>]]></description>"),
        document("<item><title>A</title></item>", head="</channel><channel>"),
        document("<item><title>A</title></item>", head="<x xmlns='http://x.example/'><Item/></x>"),
        document("<item><title>A</title></item><!-- between --><item><title>B</title></item>"),
        document("<item><title>A</title></item>", head="<p:item xmlns:p='http://purl.org/rss/1.0/'/>"),
        document("<item><title>A</title></item>", head="<broken>"),
        document("<item><title>A</title><item><title>B</title></item></item>"),
        document("<item><description><![CDATA[</item>]]></description></item>"),
        document("<item><title>A</title></item>", "<Item><title>B</title></Item>"),
        b"<!DOCTYPE rss [<!ENTITY a 'b'>]>" + document("<item><title>&a;</title></item>"),
        document("<item><title>A</title></item>") + b"<!-- after -->",
        document(),
        b"",
    ],
)  # fmt: skip
def test_what_does_not_come_apart_for_certain_goes_the_full_way(body: bytes) -> None:
    assert split.split(Document(body=body, url=URL)) is None or agrees(body) >= 0
    assert split.split(Document(body=body, url=URL)) is None


def test_an_item_of_a_prefix_that_nobody_knows_is_none() -> None:
    access = "<p:item xmlns:p='http://x.example/'><title>Members only</title></p:item>"
    assert agrees(document("<item><title>A</title></item>", head=access)) == 1
    assert agrees(document("<item><title>A</title></item>", access)) == 1


def test_an_item_that_is_not_well_formed_is_left_to_feedparser_and_the_others_are_not() -> None:
    good = ["<item><title>A</title></item>", "<item><title>C</title></item>"]
    body = document(good[0], "<item><title>B & more</title></item>", good[1])
    outline = split.split(Document(body=body, url=URL))
    assert outline is not None
    looked = facts.facts(outline, range(3), MEDIA, URL)
    assert looked is not None
    assert [one and one.title for one in looked.items] == ["A", None, "C"]
    assert looked.malformed == {1}
    again = parse.parse(Document(body=outline.document_of([1], malformed=True), url=URL), MEDIA)
    assert isinstance(again, ParsedFeed)
    assert [one.title for one in again.items] == [fully(body)[1].title]


def test_atom_comes_apart_and_its_entries_are_left_to_feedparser() -> None:
    entry = "<entry><id>{0}</id><title>{0}</title></entry>"
    entries = "".join(entry.format(number) for number in "12")
    body = f'<feed xmlns="http://www.w3.org/2005/Atom"><title>A</title>{entries}</feed>'.encode()
    assert scanned_items(Document(body=body, url=URL)) == [None, None]
    outline = split.split(Document(body=body, url=URL))
    assert outline is not None
    assert fully(outline.document_of([1], malformed=False)) == fully(body)[1:]


@pytest.mark.parametrize(
    ("codec", "charset", "declared"),
    [
        ("iso-8859-1", None, "ISO-8859-1"),
        ("cp1252", "iso-8859-1", ""),
        ("utf-8", "windows-1252", "utf-8"),
        ("cp1251", "windows-1251", "utf-8"),
        ("cp1251", "no-such-thing", "windows-1251"),
        ("utf-16", "utf-8", "utf-8"),
        ("utf-16-le", None, ""),
        ("utf-8-sig", "koi8-r", "koi8-r"),
        ("utf-8", "shift_jis", "utf-8"),
        ("cp932", "x-sjis", ""),
        ("iso2022_jp", "iso-2022-jp", ""),
        ("gb18030", None, "gb2312"),
    ],
)
def test_both_ways_agree_in_every_character_set(
    codec: str, charset: str | None, declared: str
) -> None:
    """Whatever is damaged: what one way replaces, the other one replaces."""
    declaration = f'<?xml version="1.0" encoding="{declared}"?>' if declared else ""
    items = (f"<item><title>{one}</title><guid>{one}</guid></item>" for one in TITLES)
    text = declaration + document(*items).decode()
    body = text.encode(codec, "xmlcharrefreplace")
    assert agrees(body, charset=charset) >= len(TITLES) - 3
    dice = random.Random(codec)
    for _ in range(30):
        place = dice.randrange(body.find(b"item"), len(body))
        piece = dice.choice(
            (b"", b"\xc3", b"\xff", b"\x81", b"\xed\xa0\xbd", b"\xe2\x80", b"\x1b$B")
        )
        agrees(body[:place] + piece + body[place + dice.choice((0, 1)) :], charset=charset)


def test_the_namespaces_are_feedparser_s_and_ours() -> None:
    theirs = {uri.lower(): prefix for uri, prefix in _FeedParserMixin.namespaces.items()}
    assert theirs == PREFIXES
    assert theirs.items() >= OURS.items()
    assert feedparser_patches.CANDIDATES


def mutations(body: bytes, dice: random.Random) -> Iterator[bytes]:
    """The document with something small wrong or strange in it, in many ways."""
    for _ in range(12):
        place = dice.randrange(len(body))
        piece = dice.choice(PIECES)
        yield body[:place] + piece + body[place + dice.choice((0, 0, 1, len(piece))) :]
        other = dice.randrange(len(body))
        low, high = sorted((place, other))
        yield body[:low] + body[high:] if high - low < 500 else body[:low] + body[low + 5 :]


PIECES = (
    b"<", b">", b"&", b"&amp;", b"]]>", b"<![CDATA[", b"<!--", b"-->", b"</item>", b"<item>",
    b"<title>x</title>", b"</title>", b"<guid>y</guid>", b"\xff", b"\x00", b"\xc3\xa9", b'"',
    b' xml:base="http://b.example/"', b"<enclosure url='http://x.example/z.mp3'/>", b"\r\n",
    b"<itunes:title>z</itunes:title>", b"<!DOCTYPE rss>", b"&nbsp;", b"<podcast:liveItem>",
    b"</rss>", b"<image><title>i</title></image>", b"<dc:date>2020-01-01</dc:date>",
    b"\xe2\x80\x8b", b"\xed\xa0\xbd\xed\xb8\x80", b"\xed\xa0\xbd", b"&#55357;&#56832;", b"&#xD83D;",
    b"&#2;", b"\x0c", b"<live>", b"&lt;script&gt;", b"</descripton>", b"\xe2\x80", b"\xef\xbf\xbe",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("seed", one_in(17, range(17)))
def test_both_ways_agree_on_mutated_documents(seed: int) -> None:
    """On 1,200 of each seed; the longer run makes them twenty thousand."""
    dice = random.Random(seed)
    read = 0
    for number in range(52):
        numbers = range(number, number + 1 + number % 2)
        body = rss_of(*(item(one, title=dice.choice(TITLES)) for one in numbers))
        for mutated in mutations(body, dice):
            parsed = parse.parse(Document(body=mutated, url=URL), MEDIA)
            if split.split(Document(body=mutated, url=URL)) is not None and isinstance(
                parsed, ParsedFeed
            ):
                read += agrees(mutated, parsed)
    assert read > 150, "mutations that leave most documents readable"


TITLES = ("Episode", "Q&A", "Über uns", "“Quoted” - and more", "<b>Bold</b>", "日本語", "GrÃ¼ÃŸe")
