"""OPML as other programs write it, and as we do."""

import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import pytest

from feedwatch.core.feed import Failed
from feedwatch.core.import_plan import Outline
from feedwatch.feeds.opml import MAX_OPML_BYTES, MAX_OUTLINES, opml_of, read_opml

NOW = datetime(2026, 12, 1, tzinfo=UTC)
URL = "https://a.example/f?x=1&y=2"


def opml(body: str, head: str = '<?xml version="1.0"?>', version: str = "2.0") -> str:
    return f'{head}<opml version="{version}"><head/><body>{body}</body></opml>'


def outline(more: str = 'text="A show"') -> str:
    return f'<outline type="rss" xmlUrl="https://a.example/f?x=1&amp;y=2" {more}/>'


def read(text: str, encoding: str = "utf-8") -> list[Outline]:
    found = read_opml(text.encode(encoding))
    assert not isinstance(found, Failed), found
    return found


def reason(body: bytes) -> str:
    found = read_opml(body)
    assert isinstance(found, Failed)
    return found.reason


def test_nested_outlines_are_read_in_order_and_folders_are_none() -> None:
    text = opml(
        f'<outline text="Folder"><outline text="Deeper">{outline()}</outline></outline>'
        '<outline text="B" xmlUrl="https://b.example/f"><outline text="note"/></outline>'
    )
    assert read(text) == [
        Outline(url=URL, titles=("A show",)),
        Outline(url="https://b.example/f", titles=("B",)),
    ]


@pytest.mark.parametrize(
    ("attributes", "titles"),
    [
        ('text="A" title="B"', ("B", "A")),
        ('text="A" title="A"', ("A",)),
        ('title=" A  B " text=""', ("A B",)),
        ('TEXT="A"', ("A",)),
        ('text="A &amp;amp; B"', ("A & B",)),
        ('text="A & B"', ("A & B",)),
        ('text="Caf&eacute;"', ("Café",)),
        ('text="a &#10; b"', ("a b",)),
        ("", ()),
    ],
)
def test_a_title_is_one_line_of_plain_text_and_the_shows_own_comes_first(
    attributes: str, titles: tuple[str, ...]
) -> None:
    assert read(opml(outline(attributes))) == [Outline(url=URL, titles=titles)]


@pytest.mark.parametrize(
    ("attributes", "url"),
    [
        ('XMLURL="https://a.example/f"', "https://a.example/f"),
        ('xmlurl=" https://a.example/f "', "https://a.example/f"),
        ('xmlUrl="https://a.example/f?a=1&b=2"', "https://a.example/f?a=1&b=2"),
        ('type="RSS" url="https://a.example/f"', "https://a.example/f"),
        ('xmlUrl="feed://a.example/f"', "http://a.example/f"),
        ('xmlUrl="feed:https://a.example/f"', "https://a.example/f"),
        ('xmlUrl="itpc://a.example/f"', "http://a.example/f"),
        ('xmlUrl="feed://https://a.example/f"', "https://a.example/f"),
    ],
)
def test_an_address_is_found_however_a_program_writes_it(attributes: str, url: str) -> None:
    assert [one.url for one in read(opml(f"<OUTLINE {attributes}/>"))] == [url]


@pytest.mark.parametrize(
    "attributes",
    [
        'type="link" url="https://a.example/list.opml"',
        'type="include" url="https://a.example/list.opml"',
        'htmlUrl="https://a.example/"',
        'xmlUrl=""',
    ],
)
def test_a_link_to_something_else_is_no_feed(attributes: str) -> None:
    assert read(opml(f"<outline {attributes}/>")) == []


@pytest.mark.parametrize("version", ["1.0", "1.1", "2.0", ""])
def test_every_version_is_read(version: str) -> None:
    assert len(read(opml(outline(), version=version))) == 1


@pytest.mark.parametrize(
    ("head", "encoding"),
    [
        ("", "utf-8"),
        ("\ufeff", "utf-8"),
        ('\ufeff<?xml version="1.0" encoding="UTF-8"?>', "utf-8"),
        ('<?xml version="1.0" encoding="ISO-8859-1"?>', "latin-1"),
        ('<?xml version="1.0" encoding="windows-1252"?>', "cp1252"),
        ('<?xml version="1.0" encoding="utf-16"?>', "utf-16"),
        ('<?xml version="1.0" encoding="UTF-8"?>', "cp1252"),
        ('\n<?xml version="1.0"?>', "utf-8"),
        ('<!DOCTYPE opml SYSTEM "https://a.example/opml.dtd">', "utf-8"),
    ],
)
def test_a_title_is_read_in_the_characters_that_it_is_in(head: str, encoding: str) -> None:
    assert read(opml(outline('text="Café"'), head), encoding)[0].titles == ("Café",)


def test_the_podcast_of_our_own_export_is_read_with_and_without_its_declaration() -> None:
    (found,) = read(opml(outline('text="A" feedwatch:podcast="p-1"')))
    assert found.podcast_id == "p-1"


def test_there_are_no_entities_of_the_files_own() -> None:
    for subset in (
        '<!ENTITY x SYSTEM "file:///etc/hostname">',
        '<!ENTITY a "aaaa"><!ENTITY x "&a;&a;&a;&a;">',
    ):
        text = opml(outline('text="a &x; b"'), f"<!DOCTYPE opml [{subset}]>")
        assert read(text)[0].titles == ("a &x; b",)
    assert "well-formed" in reason(opml(outline(), "<!DOCTYPE opml []><!DOCTYPE opml []>").encode())


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "no well-formed XML"),
        (b"not xml", "no well-formed XML"),
        (b"<opml><body><outline></body></opml>", "no well-formed XML"),
        (b"<rss><channel/></rss>", "its root element is <rss>"),
        (b"<html/>", "its root element is <html>"),
        (b"<opml>" + b" " * MAX_OPML_BYTES, "more than 10 MB"),
        (opml(f'<outline xmlUrl="{"x" * 200_000}"/>').encode(), "no well-formed XML"),
        (opml('<outline xmlUrl="x"/>' * (MAX_OUTLINES + 1)).encode(), "more than 10000 feeds"),
    ],
)
def test_what_is_no_list_of_feeds_is_told(body: bytes, words: str) -> None:
    assert words in reason(body)


def test_what_is_written_is_opml_2_and_is_read_back() -> None:
    given = [
        Outline(url=URL, titles=("a",), podcast_id="p-1"),
        Outline(url="https://b.example/'\"<>", titles=("b \"'<&>",)),
        Outline(url="https://c.example/", titles=()),
    ]
    document = opml_of(given, NOW)
    root = ET.fromstring(document)
    assert (root.tag, root.get("version")) == ("opml", "2.0")
    assert parsedate_to_datetime(root.findtext("head/dateCreated") or "") == NOW
    for found in root.findall("body/outline"):
        assert found.get("type") == "rss"
        assert found.get("text")
        assert found.get("xmlUrl")
    back = read_opml(document)
    assert back == [*given[:2], Outline(url="https://c.example/", titles=("c.example",))]
