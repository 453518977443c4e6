"""A document rewritten: what changes, and that nothing else does."""

import io
import re

import feedparser
import pytest

from feedwatch.core.feed import Document, Failed
from feedwatch.core.served import ProcessedFile
from feedwatch.feeds.layout import item_of, layout_of
from feedwatch.feeds.parse import parse
from feedwatch.feeds.rewrite import Edition, podcast_guid, rewritten
from feedwatch.feeds.well_formed import is_well_formed, well_formed
from tests.feeds_corpus import Corpus
from tests.support import audio, item, rss

EDITION = Edition(url="https://feeds.example.org/feeds/show.xml")
FILE = ProcessedFile(
    url="https://cdn.example.org/1.mp3?a=1&b=2", length=777, type="audio/mp4", duration=61.6
)
SHOW = "https://publisher.example.org/feed.xml"
MEDIA = ("audio/*", "video/*")
PODCAST_NS = 'xmlns:podcast="https://podcastindex.org/namespace/1.0"'
MRSS = 'xmlns:media="http://search.yahoo.com/mrss/"'


def mended_or_none(body: bytes) -> bytes | None:
    """What becomes of a document of these bytes."""
    return well_formed(Document(body=body, url=SHOW))


def served(body: bytes, *, edition: Edition = EDITION, file: ProcessedFile = FILE) -> str:
    """The document with the first item's audio replaced."""
    return rewritten(layout_of(body), {0: file}, edition).decode()


def test_without_edition_or_processed_files_every_byte_stays() -> None:
    body = rss(1, 2, 3)
    assert rewritten(layout_of(body), {}) == body


def test_the_enclosure_has_the_address_length_and_type_of_the_processed_file() -> None:
    text = served(rss(1, 2))
    new = 'url="https://cdn.example.org/1.mp3?a=1&amp;b=2" length="777" type="audio/mp4"'
    assert f"<enclosure {new}/>" in text
    assert audio(1) not in text
    assert audio(2) in text
    assert text.count(">62</itunes:duration>") == 1


def test_a_length_that_is_not_known_is_0_and_the_type_follows_the_name() -> None:
    text = served(rss(1), file=ProcessedFile(url="https://cdn.example.org/1.m4a"))
    assert 'length="0" type="audio/mp4"' in text


def test_each_place_that_names_the_audio_is_replaced_and_no_picture() -> None:
    more = (
        f'<media:content {MRSS} url="{audio(1)}?from=media" type="audio/mpeg" bitrate="128"/>'
        f'<media:content {MRSS} url="https://example.org/cover.jpg" type="image/jpeg"/>'
        f'<podcast:alternateEnclosure {PODCAST_NS} type="audio/opus" length="5" bitrate="96000">'
        f'<podcast:source uri="https://example.org/1.opus" contentType="audio/opus"/>'
        f'<podcast:integrity type="sri" value="sha384-x"/></podcast:alternateEnclosure>'
    )
    text = served(rss(item(1, more=more)))
    assert text.count("https://cdn.example.org/1.mp3?a=1&amp;b=2") == 3
    assert 'url="https://example.org/cover.jpg" type="image/jpeg"' in text
    assert ".opus" not in text
    assert "integrity" not in text
    assert "bitrate" not in text
    assert "<podcast:alternateEnclosure xmlns:podcast" in text
    assert 'type="audio/mp4" length="777"' in text


def test_what_a_cdata_section_or_a_comment_says_is_not_touched() -> None:
    quoted = f'<enclosure url="{audio(1)}" length="1" type="audio/mpeg"/>'
    more = f"<!-- {quoted} --><content><![CDATA[{quoted}</item>]]></content>"
    text = served(rss(item(1, more=more)))
    assert more in text


def test_the_feed_names_itself_and_not_what_leads_away_from_it() -> None:
    links = (
        '<atom:link xmlns:atom="http://www.w3.org/2005/Atom" rel="self" href="https://a.example"/>'
        '<a:link xmlns:a="http://www.w3.org/2005/Atom" rel="hub" href="https://hub.example"></a:link>'
        '<a:link xmlns:a="http://www.w3.org/2005/Atom" rel="next" href="https://next.example"/>'
        "<itunes:new-feed-url>https://new.example</itunes:new-feed-url>"
        "<link>https://home.example</link>"
    )
    body = rss(1).replace(b"<channel>", b"<channel>" + links.encode())
    body = body.replace(b"?>\n", b'?>\n<?xml-stylesheet href="style.xsl"?>', 1)
    text = served(body)
    for gone in ("a.example", "hub.example", "next.example", "new.example", "style.xsl"):
        assert gone not in text
    assert "<link>https://home.example</link>" in text
    feed = feedparser.parse(io.BytesIO(text.encode()))
    assert [one.href for one in feed.feed.links if one.rel == "self"] == [EDITION.url]


def test_the_guid_is_kept_if_the_origin_states_one_and_else_made_of_the_address() -> None:
    # The example of the podcast namespace's own documentation.
    assert podcast_guid("https://mp3s.nashownotes.com/pc20rss.xml") == (
        "917393e3-1b1e-5cef-ace4-edaa54e1f810"
    )
    assert podcast_guid("podcastindex.org/x/") == podcast_guid("https://podcastindex.org/x")
    own = podcast_guid(EDITION.url)
    assert f">{own}</podcast:guid>" in served(rss(1))
    stated = f"<podcast:guid {PODCAST_NS}>abc</podcast:guid>".encode()
    body = rss(1).replace(b"<channel>", b"<channel>" + stated)
    assert own not in served(body)
    text = served(body, edition=Edition(url=EDITION.url, keeps_guid=False))
    assert own in text
    assert ">abc<" not in text


def test_an_item_without_a_guid_gets_its_published_address_as_one() -> None:
    without = re.sub("<guid.*</guid>", "", item(1))
    body = rss(without, 2)
    guid = f'<guid isPermaLink="false">{audio(1)}</guid>'
    before = rewritten(layout_of(body), {}, EDITION).decode()
    assert before.count(guid) == served(body).count(guid) == 1, "before it is ready and after"
    assert before.count("<guid") == 2
    assert rewritten(layout_of(body), {}) == body, "an export says what was published"
    shared = rss(without, without, item(2, guid=audio(3)), without.replace("1.mp3", "3.mp3"))
    assert rewritten(layout_of(shared), {}, EDITION).count(b"<guid") == 1, "it would be of two"
    empty = rss("<item><title>No audio</title></item>", '<item rdf:about="x" xmlns:rdf="y"/>')
    assert b"<guid" not in rewritten(layout_of(empty), {}, EDITION)


def test_chapters_and_transcripts_of_a_replaced_item_go_unless_kept() -> None:
    timed = (
        f'<podcast:chapters {PODCAST_NS} url="https://example.org/c.json" type="x"/>'
        f'<podcast:transcript {PODCAST_NS} url="https://example.org/t.vtt" type="text/vtt"/>'
        '<psc:chapters xmlns:psc="http://podlove.org/simple-chapters"><psc:chapter start="1"/>'
        "</psc:chapters>"
    )
    body = rss(item(1, more=timed), item(2, more=timed))
    assert served(body).count("chapters") == served(body).count(timed) * 4 == 4
    kept = served(body, edition=Edition(url=EDITION.url, keeps_timed=True))
    assert kept.count(timed) == 2


def test_an_item_left_out_leaves_nothing_behind() -> None:
    body = rss(1, 2, 3)
    assert rewritten(layout_of(body), {}, omitted={1}) == rss(1, 3).replace(
        item(3).encode(), b"\n" + item(3).encode()
    )


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (b"<title>Q&A &amp; &nbsp;&eacute;</title>", "Q&A & \u00a0é"),
        (b"<title>a \x08b &#8;c</title>", "a b c"),
        (b"<title>1 < 2</title>", "1 < 2"),
        (b"<title>caf\xe9</title>", "caf\ufffd"),
        (b"<nobody:said/><title>T</title>", "T"),
        (b"<!-- a -- b ---><title>T</title>", "T"),
    ],
)
def test_common_faults_are_mended(broken: bytes, said: str) -> None:
    body = rss("<item>REPLACED</item>").replace(b"REPLACED", broken)
    assert not is_well_formed(body)
    mended = mended_or_none(body)
    assert mended is not None
    (entry,) = feedparser.parse(io.BytesIO(mended)).entries
    assert entry.title == said


def test_tags_that_do_not_nest_are_not_mended() -> None:
    assert mended_or_none(rss("<item><title>T</item>")) is None


def test_a_document_type_goes_and_its_entities_with_it() -> None:
    doctype = b'?>\n<!DOCTYPE rss [<!ENTITY x "y"><!ENTITY z SYSTEM "file:///etc/passwd">]>'
    body = rss(item(1, title="T")).replace(b">T<", b">&x;<")
    mended = mended_or_none(body.replace(b"?>", doctype, 1))
    assert mended is not None
    assert b"DOCTYPE" not in mended
    assert b">&amp;x;<" in mended


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_all_real_feeds_are_served_with_every_audio_replaced(real_feeds: Corpus) -> None:
    for file in real_feeds.files("real"):
        body = file.read_bytes()
        before = parse(Document(body=body, url=SHOW), MEDIA)
        if isinstance(before, Failed):
            continue
        document = mended_or_none(body)
        assert document is not None, file.name
        layout = layout_of(document)
        files = dict.fromkeys(range(len(layout.items)), FILE)
        result = rewritten(layout, files, EDITION)
        assert is_well_formed(result), file.name
        after = parse(Document(body=result, url=SHOW), MEDIA)
        assert not isinstance(after, Failed), file.name
        ours = [item_of(one, MEDIA, SHOW) for one in layout.items]
        assert [
            (one.guid, one.title, one.enclosure_url, one.published_at) for one in before.items
        ] == [(one.guid, one.title, one.enclosure_url, one.published_at) for one in ours], file.name
        for one, other in zip(before.items, after.items, strict=True):
            assert one.guid in (None, other.guid), file.name
            assert one.published_at == other.published_at, file.name
        assert {one.enclosure_url for one in after.items} <= {None, FILE.url}, file.name


def test_whatever_the_origin_is_what_is_served_is_well_formed(real_feeds: Corpus) -> None:
    for file in real_feeds.files("nasty"):
        document = mended_or_none(file.read_bytes())
        if document is None or file.stat().st_size > 1_000_000:
            continue
        layout = layout_of(document)
        files = dict.fromkeys(range(len(layout.items)), FILE)
        assert is_well_formed(rewritten(layout, files, EDITION)), file.name
