"""From a document's bytes to items: every dialect, and what servers send in place of a feed.

All shows here are made up.
"""

import codecs
import gzip
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedwatch.core.feed import Document, Failed, Item, ParsedFeed
from feedwatch.feeds import parse as parser
from feedwatch.feeds.dates import read_date, read_duration
from feedwatch.feeds.document_parser import TOO_MANY_ITEMS
from feedwatch.feeds.enclosures import MAX_URL, absolute
from feedwatch.feeds.parse import parse

URL = "https://feeds.example/shows/tea.xml"
MEDIA = ("audio/*", "video/*")
NAMESPACES = (
    'xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd" '
    'xmlns:content="http://purl.org/rss/1.0/modules/content/" '
    'xmlns:media="http://search.yahoo.com/mrss/" '
    'xmlns:dc="http://purl.org/dc/elements/1.1/" '
    'xmlns:atom="http://www.w3.org/2005/Atom" '
    'xmlns:podcast="https://podcastindex.org/namespace/1.0"'
)
MP3 = '<enclosure url="https://m.example/1.mp3" type="audio/mpeg" length="1"/>'


def rss(*items: str, more: str = "", root: str = "") -> bytes:
    inner = "".join(f"<item>{item}</item>" for item in items)
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<rss version="2.0" {NAMESPACES} {root}>'
        f"<channel><title>Tea &amp; talk</title>{inner}{more}</channel></rss>"
    ).encode()


def parsed(body: bytes, media_types: Sequence[str] = MEDIA) -> ParsedFeed:
    answer = parse(Document(body=body, url=URL), media_types)
    assert isinstance(answer, ParsedFeed), answer
    return answer


def items(body: bytes, media_types: Sequence[str] = MEDIA) -> tuple[Item, ...]:
    return parsed(body, media_types).items


def item(content: str, **other: str) -> Item:
    (only,) = items(rss(content, **other))
    return only


def enclosure(content: str, media_types: Sequence[str] = MEDIA) -> str | None:
    (only,) = items(rss(content), media_types)
    return only.enclosure_url


def reason(body: bytes) -> str:
    answer = parse(Document(body=body, url=URL), MEDIA)
    assert isinstance(answer, Failed), answer
    return answer.reason


# Dialects


def test_rss_2_gives_every_field() -> None:
    feed = parsed(
        rss(
            """<title>Oolong &amp; &lt;b&gt;friends&lt;/b&gt;</title>
            <guid isPermaLink="false"> tea-17\n</guid>
            <pubDate>Tue, 05 Mar 2024 06:00:00 +0100</pubDate>
            <description>Short.</description>
            <content:encoded><![CDATA[<p>Long <a href="https://tea.example">notes</a>.</p>]]>
            </content:encoded>
            <itunes:duration>1:02:03</itunes:duration>
            <itunes:episodeType> Bonus </itunes:episodeType>"""
            + MP3
        )
    )
    assert feed == ParsedFeed(
        title="Tea & talk",
        items=(
            Item(
                guid="tea-17",
                title="Oolong & friends",
                description="Long notes (https://tea.example).",
                enclosure_url="https://m.example/1.mp3",
                published_at=datetime(2024, 3, 5, 5, tzinfo=UTC),
                duration=3723,
                episode_type="bonus",
            ),
        ),
    )


def test_an_item_that_states_nothing_gets_nothing_invented() -> None:
    assert item("") == Item(
        guid=None, title="", description="", enclosure_url=None, published_at=None
    )


def test_rss_092_has_items_of_an_enclosure_and_a_description() -> None:
    inner = f"<item><description>Tea</description>{MP3}</item>"
    body = f'<rss version="0.92"><channel>{inner}</channel></rss>'
    (only,) = items(body.encode())
    assert (only.guid, only.title, only.description) == (None, "", "Tea")
    assert only.enclosure_url == "https://m.example/1.mp3"


def test_rdf_has_its_enclosures_in_a_module() -> None:
    body = b"""<?xml version="1.0"?><r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
    xmlns="http://purl.org/rss/1.0/" xmlns:e="http://purl.oclc.org/net/rss_2.0/enc#"
    xmlns:dc="http://purl.org/dc/elements/1.1/">
    <channel r:about="https://tea.example/"><title>Tea</title></channel>
    <item r:about="https://tea.example/1"><title>One</title><dc:date>2024-03-05T06:00+01:00</dc:date>
    <e:enclosure r:resource="/1.pdf" e:type="application/pdf"/>
    <e:enclosure r:resource="/1.mp3" e:type="audio/mpeg" e:length="1"/></item></r:RDF>"""
    (only,) = items(body)
    assert only.guid == "https://tea.example/1"
    assert only.enclosure_url == "https://feeds.example/1.mp3"
    assert only.published_at == datetime(2024, 3, 5, 5, tzinfo=UTC)


def test_atom_1_has_its_enclosures_in_links() -> None:
    body = b"""<feed xmlns="http://www.w3.org/2005/Atom">
    <title type="html">Tea &amp;amp; talk</title>
    <entry><id>urn:tea:1</id><title>One</title><updated>2024-03-06T06:00:00Z</updated>
    <published>2024-03-05T06:00:00+01:00</published>
    <content type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml"><p>Two <b>bags</b></p></div>
    </content>
    <link href="https://tea.example/1"/><link rel="enclosure" href="1.mp3"/></entry>
    <entry><id>urn:tea:2</id><updated>2024-03-06T06:00:00Z</updated><summary>S</summary>
    <link rel="enclosure" type="audio/ogg" href="https://m.example/2"/></entry></feed>"""
    feed = parsed(body)
    first, second = feed.items
    assert feed.title == "Tea & talk"
    assert (first.guid, first.description) == ("urn:tea:1", "Two bags")
    assert first.enclosure_url == "https://feeds.example/shows/1.mp3"
    assert first.published_at == datetime(2024, 3, 5, 5, tzinfo=UTC)
    assert second.published_at == datetime(2024, 3, 6, 6, tzinfo=UTC)
    assert second.enclosure_url == "https://m.example/2"


def test_atom_03_is_read() -> None:
    body = b"""<feed version="0.3" xmlns="http://purl.org/atom/ns#"><title>Old tea</title><entry>
    <title>E</title><id>tag:tea,2004:1</id><issued>2004-05-06T07:08:09Z</issued>
    <link rel="enclosure" type="audio/mpeg" href="https://m.example/1.mp3"/></entry></feed>"""
    (only,) = items(body)
    assert (only.guid, only.enclosure_url) == ("tag:tea,2004:1", "https://m.example/1.mp3")
    assert only.published_at == datetime(2004, 5, 6, 7, 8, 9, tzinfo=UTC)


def test_names_in_odd_case_and_prefixes_are_known_by_their_namespace() -> None:
    body = b"""<RSS version="2.0" xmlns:it="http://www.iTunes.com/DTDs/Podcast-1.0.dtd"
    xmlns:m="http://search.yahoo.com/mrss" xmlns:pc="https://podcastindex.org/namespace/1.0">
    <Channel><Title>Tea</Title><Item><GUID>1</GUID><it:Duration>61</it:Duration>
    <it:episodeType>Trailer</it:episodeType><m:Content URL="https://m.example/1.mp3"/></Item>
    <item><pc:alternateEnclosure type="audio/ogg"><pc:source uri="https://m.example/2"/>
    </pc:alternateEnclosure></item></Channel></RSS>"""
    first, second = items(body)
    assert (first.guid, first.duration, first.episode_type) == ("1", 61, "trailer")
    assert first.enclosure_url == "https://m.example/1.mp3"
    assert second.enclosure_url == "https://m.example/2"


def test_a_default_namespace_does_not_hide_the_items() -> None:
    body = rss("<guid>1</guid>" + MP3, root='xmlns="http://backend.userland.com/rss2"')
    assert items(body)[0].guid == "1"


def test_items_keep_the_order_of_the_document() -> None:
    body = rss(*(f"<guid>{number}</guid>" for number in (2, 3, 1, 2)))
    assert [only.guid for only in items(body)] == ["2", "3", "1", "2"]


def test_a_live_item_is_no_item_and_leaves_the_feed_alone() -> None:
    live = """<podcast:liveItem status="live" start="2024-03-01T10:00:00Z"><title>Live now</title>
    <guid>live</guid><description>Live words</description>
    <pubDate>Tue, 05 Mar 2024 06:00:00 GMT</pubDate>
    <enclosure url="https://m.example/live.mp3" type="audio/mpeg"/>
    <podcast:alternateEnclosure type="audio/mpeg"><podcast:source uri="https://m.example/l.mp3"/>
    </podcast:alternateEnclosure></podcast:liveItem>"""
    ordinary = "<title>One</title><guid>1</guid><description>Words</description>" + MP3
    plain = parsed(rss(ordinary, ordinary))
    for body in (
        rss(ordinary, ordinary, more=live),
        rss(ordinary, ordinary).replace(b"<title>Tea", live.encode() + b"<title>Tea"),
        rss(ordinary + live, ordinary),
        rss(ordinary, ordinary).replace(b"</item><item>", b"</item>" + live.encode() + b"<item>"),
        # not well-formed, so that the other parser reads it
        rss(ordinary, ordinary, more=live + "<x>"),
    ):
        assert replace(parsed(body), repaired=False) == plain


def test_a_live_item_that_is_never_closed_does_not_swallow_the_items() -> None:
    live = "<podcast:liveItem><title>Live</title><guid>live</guid>"
    body = rss("<guid>2</guid>" + MP3, "<guid>1</guid>" + MP3)
    opened = body.replace(b"<item>", live.encode() + b"<item>", 1)
    assert items(opened) == items(body)


# The fields of an item


@pytest.mark.parametrize(
    ("stated", "guid"),
    [
        ("<guid>episodes/1</guid>", "episodes/1"),
        ('<guid isPermaLink="true">/episodes/1</guid>', "/episodes/1"),
        ("<guid>\ufeff tea-1 \n</guid>", "tea-1"),
        ("<guid> </guid>", None),
        ("<guid/>", None),
        ("<link>https://tea.example/1</link>", None),
        ("<guid><![CDATA[https://tea.example/?p=1&q=2]]></guid>", "https://tea.example/?p=1&q=2"),
        ("<guid>https://tea.example/?p=1&amp;q=2&#038;r=3</guid>", "https://tea.example/?p=1&q=2&r=3"),
        ("<guid>a &amp;lt; b</guid>", "a &lt; b"),
        ("<guid>urn:///tea//1</guid>", "urn:///tea//1"),
        ("<guid>https://[tea</guid>", "https://[tea"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("root", ["", 'xml:base="https://base.example/dir/"'])
@pytest.mark.parametrize("flaw", ["", "<p>never closed & bare"])
def test_the_guid_is_what_the_document_says(
    stated: str, guid: str | None, root: str, flaw: str
) -> None:
    assert item(stated, root=root, more=flaw).guid == guid


def test_the_title_falls_back_to_the_one_for_apple() -> None:
    assert item("<itunes:title>Two &amp;amp; more</itunes:title>").title == "Two & more"
    assert item("<title/><itunes:title>Two</itunes:title>").title == "Two"
    assert item("<itunes:title>Two</itunes:title><title>One</title>").title == "One"


def test_other_titles_inside_the_item_do_not_replace_its_own() -> None:
    media = (
        '<media:content url="https://m.example/1.mp3"><media:title>M</media:title></media:content>'
    )
    assert item("<title>One</title>" + media).title == "One"
    assert item(media + "<title>One</title>").title == "One"


SHORT, LONG = "short words", "much longer words than the others"


@pytest.mark.parametrize("longest", range(3))
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0)])
def test_the_longest_description_is_taken(longest: int, order: tuple[int, ...]) -> None:
    names = ["description", "content:encoded", "itunes:summary"]
    texts = [LONG if number == longest else SHORT for number in range(3)]
    content = "".join(f"<{names[n]}>{texts[n]}</{names[n]}>" for n in order)
    assert item(content).description == LONG


LINKS = " ".join(f"https://x.example/{number}" for number in range(50))
MARKED_UP_LINKS = "".join(
    f"&lt;p&gt;&lt;a href='{one}'&gt;{one}&lt;/a&gt;&lt;/p&gt;" for one in LINKS.split()
)


@pytest.mark.parametrize("name", ["description", "content:encoded", "itunes:summary"])
@pytest.mark.parametrize("links", [LINKS, MARKED_UP_LINKS], ids=["plain", "marked up"])
def test_a_long_list_of_links_gives_way_to_a_short_sentence(name: str, links: str) -> None:
    other = "description" if name == "content:encoded" else "content:encoded"
    listed, said = f"<{name}>{links}</{name}>", f"<{other}>A short sentence.</{other}>"
    assert item(listed + said).description == "A short sentence."
    assert item(said + listed).description == "A short sentence."
    assert "https://x.example/49" in (item(listed).description or ""), "better than nothing"


@pytest.mark.parametrize("name", ["description", "content:encoded", "itunes:summary"])
def test_a_subtitle_is_the_description_only_where_there_is_nothing_else(name: str) -> None:
    subtitle = f"<itunes:subtitle>{LONG}</itunes:subtitle>"
    assert item(subtitle).description == LONG
    assert item(f"<{name}></{name}>{subtitle}").description == LONG
    assert item(f"<{name}>Tea</{name}>{subtitle}").description == "Tea"
    assert item(f"{subtitle}<{name}>Tea</{name}>").description == "Tea"


def test_the_length_that_counts_is_the_one_people_read() -> None:
    markup = "<![CDATA[<p class='" + "x" * 500 + "'>short</p>]]>"
    content = f"<description>{LONG}</description><content:encoded>{markup}</content:encoded>"
    assert item(content).description == LONG


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3723", 3723),
        (" 62:03 ", 3723),
        ("1:02:03", 3723),
        ("3723.5", 3723),
        ("01:02:03.250", 3723),
        ("0", None),
        ("00:90", 90),
        ("", None),
        ("-5", None),
        ("1:-5", None),
        ("an hour", None),
        ("1:2:3:4", None),
        ("12:", None),
        ("1e9", None),
        ("99999999999999999999", None),
        ("٣", None),
    ],
)
def test_durations(text: str, seconds: int | None) -> None:
    assert read_duration(text) == seconds


@given(st.text())
def test_no_duration_raises(text: str) -> None:
    assert (read_duration(text) or 0) >= 0


def test_elements_with_attributes_where_none_belong_do_not_break_the_item() -> None:
    odd = '<itunes:duration x="1">9</itunes:duration><itunes:title x="1">t</itunes:title>'
    assert item(odd + "<title>One</title>" + MP3).title == "One"


# Dates

MARCH_5 = datetime(2024, 3, 5, 6, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("Tue, 05 Mar 2024 06:00:00 GMT", MARCH_5),
        ("Tue, 05 Mar 2024 06:00:00 +0000", MARCH_5),
        ("Wed, 05 Mar 2024 06:00:00 Z", MARCH_5),
        ("5 March 2024 06:00 UT", MARCH_5),
        ("Tues., 05 Mar. 2024 06:00:00 GMT", MARCH_5),
        ("Tue,05 Mar 2024 06:00:00+0000", MARCH_5),
        ("Tue, 5 Mar 24 06:00", MARCH_5),
        ("Tuesday, 05-Mar-24 06:00:00 GMT", MARCH_5),
        ("Tue, 05 Mar 2024 06:00:00.123 GMT", MARCH_5),
        ("Tue, 05 Mar 2024 01:00:00 EST", MARCH_5),
        ("Mon, 04 Mar 2024 22:00:00 PST", MARCH_5),
        ("Tue, 05 Mar 2024 07:00:00 CET", MARCH_5),
        ("Tue, 05 Mar 2024 08:00:00 CEST", MARCH_5),
        ("Tue, 05 Mar 2024 07:00:00 BST", MARCH_5),
        ("Tue, 05 Mar 2024 15:00:00 JST", MARCH_5),
        ("Tue, 05 Mar 2024 07:00:00 GMT+1", MARCH_5),
        ("Tue, 05 Mar 2024 11:30:00 +0530", MARCH_5),
        ("Tue, 05 Mar 2024 11:30:00 GMT+05:30", MARCH_5),
        ("Tue, 05 Mar 2024 08:00:00 +0200 (EET)", MARCH_5),
        ("Mon, 04 Mar 2024 10:00 PM PST", MARCH_5),
        ("2024-03-05T06:00:00Z", MARCH_5),
        ("2024-03-05T06:00:00.000Z", MARCH_5),
        ("2024-03-05t07:00+01:00", MARCH_5),
        ("2024-03-05 07:00:00 +0100", MARCH_5),
        ("2024-03-05 06:00:00", MARCH_5),
        ("2024-03-05", datetime(2024, 3, 5, tzinfo=UTC)),
        ("05 Mar 2024", datetime(2024, 3, 5, tzinfo=UTC)),
        ("Tue Mar  5 06:00:00 2024", MARCH_5),
        ("Fri, 2024/03/05 01:00:00 EST", MARCH_5),
        ("Tue Mar  5 01:00:00 EST 2024", MARCH_5),
        ("March 5, 2024 6:00 AM", MARCH_5),
        ("Tuesday, March 5th, 2024 06:00:00 GMT", MARCH_5),
        ("5th March 2024 06:00", MARCH_5),
        ("2024 Mar 5 06:00", MARCH_5),
        ("2024-Mar-05 06:00", MARCH_5),
        ("2024/03/05 06:00:00", MARCH_5),
        ("2024/3/5 6:00", MARCH_5),
        ("2024.03.05 06:00", MARCH_5),
        ("2024. 3. 5. 오전 6:00", MARCH_5),
        ("2024-3-5 06:00", MARCH_5),
        ("2024-03-05 01:00:00 EST", MARCH_5),
        ("2024-03-05 06:00 AM", MARCH_5),
        ("2024年3月5日 06:00", MARCH_5),
        ("2024年03月05日(火) 午前6時", MARCH_5),
        ("2024年3月5日 星期二 上午6时00分00秒", MARCH_5),
        ("２０２４年３月５日 06:00", MARCH_5),
        ("2024년 3월 5일 화요일 오전 6시 0분", MARCH_5),
        ("2024-03-05 오전 6:00:00", MARCH_5),
        ("Tue, 05/03/2024 06:00", MARCH_5),  # the third of May was a Friday
        ("Tue, 03/05/2024 06:00", MARCH_5),
        ("25/03/2024", datetime(2024, 3, 25, tzinfo=UTC)),  # there are twelve months
        ("03/25/2024", datetime(2024, 3, 25, tzinfo=UTC)),
        ("25.03.2024", datetime(2024, 3, 25, tzinfo=UTC)),
        ("03-03-2024", datetime(2024, 3, 3, tzinfo=UTC)),
    ],
)
def test_dates_in_every_spelling(text: str, moment: datetime) -> None:
    assert item(f"<pubDate>{text}</pubDate>").published_at == moment


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "yesterday", "NaN", "Invalid Date", "0000-00-00T00:00:00Z", "1709618400", "20",
        "Thu, 32 Jan 2024 25:61:00 GMT", "Thu, 01 Jan 1970 00:00:00 GMT", "2567-03-05T06:00:00Z",
        "Mon, 01 Jan 0001 00:00:00 +0000", "99999-01-01", "05/03/2024 06:00", "-05", "--03",
        "Tue, 05 Mar 2024 06:00:00 +9999", "9999-12-31T23:59:59-23:00", "06:00:00",
        "Tue, 05 Xyz 2024 06:00:00 GMT", "05.03.2024 06:00", "03-05-2024", "Sun, 05/03/2024 06:00",
        "24/03/05", "2024/03", "03/2024", "March 2024", "5 March", "Tue, 5 March 06:00", "2024",
        "2024/13/05", "2024/02/30", "令和6年3月5日", "2567年3月5日", "3月5日", "Ti, 05 marras 2024",
        "2024/03-05", "Tuesday",
    ],
)  # fmt: skip
def test_what_is_no_date_is_none(text: str) -> None:
    assert item(f"<pubDate>{text}</pubDate>").published_at is None


def test_a_time_zone_that_is_not_known_is_not_taken_for_utc() -> None:
    assert item("<pubDate>Tue, 05 Mar 2024 06:00:00 XYZ</pubDate>").published_at is None
    assert read_date("Tue, 05 Mar 2024 06:00:00 Europe/Nowhere") is None


def test_the_machines_time_zone_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    before = [read_date(text) for text in ("2024-03-31T02:30:00", "31 Mar 2024 02:30")]
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        assert [read_date(text) for text in ("2024-03-31T02:30:00", "31 Mar 2024 02:30")] == before
    finally:
        monkeypatch.undo()
        time.tzset()


def test_the_first_date_that_can_be_read_counts() -> None:
    dates = "<pubDate>soon</pubDate><dc:date>2024-03-05T06:00:00Z</dc:date>"
    assert item(dates).published_at == MARCH_5
    both = "<dc:date>2020-01-01</dc:date><pubDate>Tue, 05 Mar 2024 06:00:00 GMT</pubDate>"
    assert item(both).published_at == MARCH_5


ZONES = st.integers(-12 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(datetime(1991, 1, 1), datetime(2099, 1, 1), timezones=ZONES)  # noqa: DTZ001


@given(MOMENTS)
def test_what_others_write_is_read_to_the_second(moment: datetime) -> None:
    moment = moment.replace(microsecond=0)
    assert read_date(format_datetime(moment)) == moment
    assert read_date(moment.isoformat()) == moment
    assert read_date(moment.isoformat(" ")) == moment


@given(st.one_of(st.text(), st.text("0123456789 :-+/.,TZtzGMEarnpu年月日時午後")))
def test_no_date_raises(text: str) -> None:
    moment = read_date(text)
    assert moment is None or (moment.tzinfo is UTC and 1990 <= moment.year <= 2100)


YEAR_FIRST = (
    "{0}/{1}/{2}",
    "{0}.{1:02}.{2:02}",
    "{0}年{1}月{2}日",
    "{0}년 {1}월 {2}일",
    "{0}-{1}-{2}",
)
YEAR_LAST = ("{2}/{1}/{0}", "{1}/{2}/{0}", "{2}.{1}.{0}", "{2:02}-{1:02}-{0}")


@given(MOMENTS, st.sampled_from(YEAR_FIRST + YEAR_LAST))
def test_a_date_of_numbers_is_read_right_or_not_at_all(moment: datetime, form: str) -> None:
    date = moment.year, moment.month, moment.day
    read = read_date(form.format(*date))
    assert read == datetime(*date, tzinfo=UTC) or (read is None and form in YEAR_LAST)


@given(
    MOMENTS, st.sampled_from(["%Y", "%Y/%m", "%m/%Y", "%d %b", "%b %Y", "%A", "%H:%M", "%y/%m/%d"])
)
def test_what_a_date_lacks_is_not_taken_from_today(moment: datetime, form: str) -> None:
    assert item(f"<pubDate>{moment.strftime(form)}</pubDate>").published_at is None


# Which enclosure


def media(url: str, **attributes: str) -> str:
    rest = "".join(f' {name}="{value}"' for name, value in attributes.items())
    return f'<media:content url="{url}"{rest}/>'


def test_audio_comes_before_video_and_images_do_not_count() -> None:
    content = (
        '<enclosure url="https://m.example/1.jpg" type="image/jpeg"/>'
        '<enclosure url="https://m.example/1.mp4" type="video/mp4"/>'
    )
    assert enclosure(content + MP3) == "https://m.example/1.mp3"
    assert enclosure(content) == "https://m.example/1.mp4"
    assert enclosure(content, ["audio/*"]) is None
    assert enclosure(content, ["image/*"]) == "https://m.example/1.jpg"


def test_of_several_enclosures_of_a_kind_the_first_counts() -> None:
    assert enclosure(MP3 + MP3.replace("1.mp3", "2.mp3")) == "https://m.example/1.mp3"


def test_the_sources_have_an_order() -> None:
    alternate = (
        '<podcast:alternateEnclosure type="audio/mpeg"><podcast:source uri="https://m.example/a.mp3"/>'
        "</podcast:alternateEnclosure>"
    )
    content = media("https://m.example/m.mp3", type="audio/mpeg")
    link = '<atom:link rel="enclosure" type="audio/mpeg" href="https://m.example/l.mp3"/>'
    assert enclosure(alternate + content + link + MP3) == "https://m.example/1.mp3"
    assert enclosure(alternate + content + link) == "https://m.example/l.mp3"
    assert enclosure(alternate + content) == "https://m.example/m.mp3"
    assert enclosure(alternate) == "https://m.example/a.mp3"


def test_audio_of_a_later_source_comes_before_video_of_an_earlier_one() -> None:
    video = '<enclosure url="https://m.example/1.mp4" type="video/mp4"/>'
    assert enclosure(video + media("https://m.example/m.mp3")) == "https://m.example/m.mp3"


def test_media_content_counts_in_groups_and_the_default_first() -> None:
    group = (
        "<media:group>"
        + media("https://m.example/hi.mp3", type="audio/mpeg")
        + media("https://m.example/lo.mp3", type="audio/mpeg", isDefault="true")
        + "</media:group>"
    )
    assert enclosure(group) == "https://m.example/lo.mp3"
    assert enclosure(group.replace(' isDefault="true"', "")) == "https://m.example/hi.mp3"


def test_media_content_may_state_its_medium_only() -> None:
    assert enclosure(media("https://m.example/1", medium="audio")) == "https://m.example/1"
    assert enclosure(media("https://m.example/1", medium="image")) is None
    assert enclosure(media("https://m.example/1")) is None


def test_a_source_may_state_a_type_of_its_own() -> None:
    content = """<podcast:alternateEnclosure type="application/octet-stream">
    <podcast:source uri="https://m.example/1" contentType="image/png"/>
    <podcast:source uri="https://m.example/2" contentType="audio/ogg"/>
    </podcast:alternateEnclosure>"""
    assert enclosure(content) == "https://m.example/2"


def test_an_alternate_enclosure_keeps_url_and_type_together() -> None:
    content = """<podcast:alternateEnclosure type="text/html"><podcast:source uri="https://m.example/1"/>
    </podcast:alternateEnclosure><podcast:alternateEnclosure type="audio/opus" default="true">
    <podcast:source uri="ipfs://bafy"/><podcast:source uri="https://m.example/2"/>
    <podcast:source uri="https://m.example/3"/></podcast:alternateEnclosure>
    <podcast:alternateEnclosure type="application/x-mpegURL">
    <podcast:source uri="https://m.example/4"/></podcast:alternateEnclosure>"""
    assert enclosure(content) == "https://m.example/2"
    assert enclosure(content, ["text/*"]) == "https://m.example/1"


@pytest.mark.parametrize(
    ("kind", "url"),
    [
        ("", "1.mp3"), ("", "1.MP3?x=1"), ("", "1.m4a#t=1"), ("application/octet-stream", "1.opus"),
        ("mp3", "1.mp3"), ("mp3", "get?id=1"), ("x-audio/mp3", "1.mp3"), ("audio", "get"),
        ("audio/mpeg; codecs=x", "get"), ("AUDIO/MPEG", "get"), ("", "1.mp4"), ("", "get"),
        ("video/x", "1.html"), ("binary/octet-stream", "a%20b.flac"), ("", "get.php"), ("", ""),
    ],
)  # fmt: skip
def test_these_are_episodes(kind: str, url: str) -> None:
    assert enclosure(f'<enclosure url="https://m.example/{url}" type="{kind}"/>') is not None


@pytest.mark.parametrize(
    ("kind", "url"),
    [
        ("image/png", "1.mp3"), ("text/html", "1.mp3"), ("application/pdf", "1"), ("", "1.jpg"),
        ("", "1.pdf"), ("", "1.html"), ("", "1.zip"), ("application/x-mpegURL", "1"),
        ("", "1.m3u8"), ("audio/mpegurl", "1"), ("application/vnd.apple.mpegurl", "1.mp3"),
        ("audio/mpeg", "1.m3u8"), ("application/x-bittorrent", "1.mp3.torrent"),
    ],
)  # fmt: skip
def test_these_are_none(kind: str, url: str) -> None:
    assert enclosure(f'<enclosure url="https://m.example/{url}" type="{kind}"/>') is None


def test_what_does_not_say_what_it_is_counts_as_audio_only() -> None:
    unknown = '<enclosure url="https://m.example/get"/>'
    assert enclosure(unknown, ["audio/*"]) == "https://m.example/get"
    assert enclosure(unknown, ["video/*"]) is None
    assert enclosure(unknown, ["audio/mpeg"]) is None


def test_a_candidate_without_a_usable_url_gives_way_to_the_next() -> None:
    broken = (
        '<enclosure url="ftp://m.example/1.mp3" type="audio/mpeg"/><enclosure type="audio/mpeg"/>'
    )
    assert enclosure(broken) is None
    assert enclosure(broken + MP3) == "https://m.example/1.mp3"


# Its URL


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("https://m.example/1.mp3", "https://m.example/1.mp3"),
        ("  https://m.example/1.mp3\n", "https://m.example/1.mp3"),
        ("HTTPS://M.example/1.MP3", "https://M.example/1.MP3"),
        ("1.mp3", "https://feeds.example/shows/1.mp3"),
        ("/1.mp3", "https://feeds.example/1.mp3"),
        ("//m.example/1.mp3", "https://m.example/1.mp3"),
        ("?ep=1", "https://feeds.example/shows/tea.xml?ep=1"),
        ("../1.mp3", "https://feeds.example/1.mp3"),
        ("https://m.example/a b.mp3", "https://m.example/a%20b.mp3"),
        ("https://m.example/a%20b%2Fc.mp3", "https://m.example/a%20b%2Fc.mp3"),
        ("https://m.example/100%.mp3?x=5%25", "https://m.example/100%25.mp3?x=5%25"),
        ("https://m.example/tée.mp3", "https://m.example/t%C3%A9e.mp3"),
        ("https://té.example/1.mp3", "https://xn--t-bga.example/1.mp3"),
        ("https://m.example/1.mp3#t=5", "https://m.example/1.mp3"),
        ("https://me:p%40ss@m.example:8443/1", "https://me:p%40ss@m.example:8443/1"),
        ("https://m.example", "https://m.example"),
        ("https://m.example?x=1", "https://m.example?x=1"),
        ("https://m.example/a[1]|{2}^`<>\"\\.mp3",
         "https://m.example/a%5B1%5D%7C%7B2%7D%5E%60%3C%3E%22%5C.mp3"),
        ("https://t.example/e/https://m.example//1.mp3?a=1&b=/;c",
         "https://t.example/e/https://m.example//1.mp3?a=1&b=/;c"),
        ("https://m.example/a/../b/./1.mp3?", "https://m.example/a/../b/./1.mp3?"),
        ("http://[2001:db8::1]:80/1.mp3", "http://[2001:db8::1]:80/1.mp3"),
        ("http://127.0.0.1:8000/1.mp3", "http://127.0.0.1:8000/1.mp3"),
        ("https://a_b.example./1.mp3", "https://a_b.example./1.mp3"),
        ("https://m.example/a\tb\n.mp3", "https://m.example/ab.mp3"),
    ],
)  # fmt: skip
def test_urls_are_made_valid_and_else_left_as_they_stand(url: str, clean: str) -> None:
    assert absolute(url, "", URL) == clean


@pytest.mark.parametrize(
    ("host", "in_ascii"),
    [
        ("straße.example", "xn--strae-oqa.example"),
        ("faß.EXAMPLE:8080", "xn--fa-hia.example:8080"),
        ("βόλος.example", "xn--nxasmm1c.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("bu\u0308cher.example", "xn--bcher-kva.example"),
        ("\uff4d\uff0e\u00e9\u3002example", "m.xn--9ca.example"),
        ("xn--bcher-kva.straße.example", "xn--bcher-kva.xn--strae-oqa.example"),
        # What IDNA 2008 refuses, and resolves all the same.
        ("\U0001f4a9.la", "xn--ls8h.la"),
        ("a_é.example", "xn--a_-cja.example"),
        ("é--.example", "xn-----9ia.example"),
        # What Unicode has not assigned yet.
        ("É\u0378.example", "xn--9ca42k.example"),
    ],
)
def test_hosts_are_written_by_uts_46(host: str, in_ascii: str) -> None:
    assert absolute(f"https://{host}/1.mp3", "", URL) == f"https://{in_ascii}/1.mp3"


@given(st.text(max_size=30))
def test_any_host_has_an_ascii_form_or_none_and_that_form_stays(host: str) -> None:
    written = absolute(f"https://{host}/1.mp3", "", URL)
    assert written is None or (written.isascii() and absolute(written, "", URL) == written)


@pytest.mark.parametrize(
    "url",
    [
        "", "  ", "ftp://m.example/1", "javascript:alert(1)", "file:///etc/passwd",
        "data:audio/mpeg,x", "magnet:?xt=1", "mailto:a@m.example", "https://", "https:///1.mp3",
        "https://?x", "https://:80/1", "https://m.example:99999/", "https://m.example:x/",
        "https://a..b/", "https://[::1/", "https://[x]/", "https://m ex.example/1", "https://<b>/",
        "https://me@/1", "https://" + "x" * 64 + ".example/", "https://m.example\\1.mp3",
        "https://m.example/" + "x" * MAX_URL, "https://m.example/" + "é" * (MAX_URL // 3),
        "https://é\ud800.example/", "https://m.example/\ud800", "https://é\uff0fb.example/",
        "https://" + "é" * 70 + ".example/",
    ],
)  # fmt: skip
def test_what_can_be_no_address_of_a_file_is_none(url: str) -> None:
    assert absolute(url, "", URL) is None


def test_xml_base_is_heeded_where_it_is_in_force() -> None:
    relative = '<enclosure url="1.mp3" type="audio/mpeg"/>'
    body = rss(relative, root='xml:base="https://base.example/dir/"')
    assert items(body)[0].enclosure_url == "https://base.example/dir/1.mp3"
    body = rss(relative, root='xml:base="media/"')
    assert items(body)[0].enclosure_url == "https://feeds.example/shows/media/1.mp3"
    body = rss(relative, relative).replace(b"<item>", b'<item xml:base="https://one.example/">', 1)
    assert [only.enclosure_url for only in items(body)] == [
        "https://one.example/1.mp3",
        "https://feeds.example/shows/1.mp3",
    ]


def test_a_relative_link_in_atom_is_resolved_once() -> None:
    body = b"""<feed xmlns="http://www.w3.org/2005/Atom" xml:base="media/"><entry><id>i</id>
    <link rel="enclosure" type="audio/mpeg" href="1.mp3"/></entry></feed>"""
    (only,) = items(body)
    assert (only.guid, only.enclosure_url) == ("i", "https://feeds.example/shows/media/1.mp3")


STARTS = st.sampled_from(["", "https://", "HTTP://a", "https://m.example/", "//m.example?"])


@given(st.builds(str.__add__, STARTS, st.text()))
def test_a_url_is_valid_or_none_and_is_cleaned_once(url: str) -> None:
    clean = absolute(url, "", URL)
    if clean is not None:
        assert re.fullmatch(r"https?://[!$&'()*+,;=:/?@A-Za-z0-9._~%\[\]-]+", clean)
        assert not re.search("%(?![0-9A-Fa-f]{2})", clean)
        assert len(clean) <= MAX_URL
        assert absolute(clean, "", URL) == clean


# What is not well-formed


def test_white_space_and_a_bom_before_the_declaration_do_no_harm() -> None:
    plain = parsed(rss("<title>Grüne Blätter</title>" + MP3))
    for start in (b"\n\n", b" \r\n", codecs.BOM_UTF8, codecs.BOM_UTF8 + b"\n", b"<!-- x -->\n"):
        assert parsed(start + rss("<title>Grüne Blätter</title>" + MP3)) == plain


def test_what_a_server_writes_around_the_feed_is_passed_over() -> None:
    plain = parsed(rss("<guid>1</guid>" + MP3))
    body = rss("<guid>1</guid>" + MP3)
    assert parsed(body + b"\n<!-- 0.3 s --><script>track()</script>") == plain
    assert parsed(b"<br />\n<b>Warning</b>: deprecated in x.php\n" + body) == plain


@pytest.mark.parametrize(
    "encoding",
    ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "utf-8-sig"],
)
@pytest.mark.parametrize("declared", ["UTF-8", "utf-16", "iso-8859-1", "UTF-32"])
def test_wide_characters_are_read_whatever_is_declared(encoding: str, declared: str) -> None:
    for title in ("Grüne Blätter", "Grüne Blätter.", "お茶"):
        text = rss(f"<title>{title}</title>" + MP3).decode()
        body = text.replace('encoding="UTF-8"', f'encoding="{declared}"').encode(encoding)
        assert items(body)[0].title == title
        assert "cut short" in reason(body[:-40])


def test_a_narrow_document_that_claims_to_be_wide_is_read() -> None:
    body = rss("<title>One</title>").replace(b"UTF-8", b"utf-16")
    assert items(body)[0].title == "One"


@pytest.mark.parametrize("encoding", ["windows-1252", "koi8-r", "shift_jis", "big5"])
def test_declared_character_sets_are_read(encoding: str) -> None:
    title = {"windows-1252": "Blätter", "koi8-r": "Чай", "shift_jis": "お茶", "big5": "茶"}[
        encoding
    ]
    text = rss(f"<title>{title}</title>").decode().replace("UTF-8", encoding)
    assert items(text.encode(encoding))[0].title == title


def test_bare_ampersands_are_read_as_people_mean_them() -> None:
    url = "https://m.example/get?id=1&ep=2&token=a"
    only = item(f'<title>Q&A with AT&T & friends</title><enclosure url="{url}" type="audio/mpeg"/>')
    assert only.title == "Q&A with AT&T & friends"
    assert only.enclosure_url == url


def test_references_to_characters_that_do_not_exist_cost_nothing_else() -> None:
    only = item("<title>Bad &#x0; &#11; &#x110000; &#xD800; refs</title><guid>1</guid>" + MP3)
    assert only.guid == "1"
    assert only.title.startswith("Bad ")
    assert only.title.endswith(" refs")


def test_entities_are_not_expanded_without_end_and_no_file_is_read() -> None:
    entities = "".join(f'<!ENTITY l{n + 1} "{f"&l{n};" * 10}">' for n in range(9))
    doctype = (
        f'<!DOCTYPE rss [<!ENTITY l0 "lol">{entities}<!ENTITY f SYSTEM "file:///etc/passwd">]>'
    )
    body = rss("<title>a &l9; &f; b</title><guid>1</guid>").replace(
        b"<rss", doctype.encode() + b"<rss"
    )
    (only,) = items(body)
    assert only.guid == "1"
    assert len(only.title) < 100
    assert "root:" not in only.title


def test_a_feed_that_stops_being_well_formed_keeps_its_items() -> None:
    content = (
        "<title>Tea &amp; &#8220;talk&#8221;</title><guid>https://tea.example/?a=1&amp;b=2</guid>"
        '<enclosure url="https://m.example/1.mp3?a=1&amp;b=2" type="audio/mpeg"/>'
        "<description>&lt;p&gt;One &amp;amp; two&lt;/p&gt;</description>"
        "<pubDate>Tue, 05 Mar 2024 06:00:00 GMT</pubDate><itunes:duration>61</itunes:duration>"
    )
    assert parsed(rss(content, more="<x>")) == replace(parsed(rss(content)), repaired=True)


# What is no feed


def test_a_feed_without_items_is_a_feed() -> None:
    assert parsed(rss()) == ParsedFeed(title="Tea & talk", items=())
    assert parsed(b'<feed xmlns="http://www.w3.org/2005/Atom"/>').items == ()
    assert parsed(b"<rss></rss>").items == ()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "empty document"),
        (b" \n\xef\xbb\xbf", "empty document"),
        (codecs.BOM_UTF16_LE, "empty document"),
        (b"<!DOCTYPE html><html><head><title>Back &amp; soon</title></head></html>",
         'an HTML page, not a feed: "Back & soon"'),
        (b"<HTML><BODY>no title</BODY></HTML>", "an HTML page, not a feed"),
        (b"<!-- x --><!doctype HTML><p>p", "an HTML page, not a feed"),
        (b"<!-- x --><html><rss></rss></html>", "an HTML page, not a feed"),
        (b'<html><body><a href="x.rss">RSS</a><feed></feed></body></html>', "an HTML page"),
        (b'{"version": "https://jsonfeed.org/version/1.1", "items": []}', "JSON, not a feed"),
        (b'[{"title": "<rss>"}]', "JSON, not a feed"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>No</Message></Error>",
         'its root element is <Error> ("AccessDenied: No")'),
        (b'<s:Envelope xmlns:s="x"><s:Body><faultstring>boom</faultstring></s:Body></s:Envelope>',
         'its root element is <s:Envelope> ("boom")'),
        (b"<opml><body><outline xmlUrl='x'/></body></opml>", "its root element is <opml>"),
        (b"error code: 1022", 'plain text, not a feed: "error code: 1022"'),
        (b"error \x1b[31m\x00" + b"long " * 50, "binary data"),
        (b"bad \x1b[31mgateway " + b"long " * 50, 'plain text, not a feed: "bad [31mgateway long'),
        (b"ID3\x04\x00\x00\x00\x00\x00\x00" * 9, "binary data"),
        (b"<!-- nothing else -->", "no content"),
        (b"<rss><x:item>a</x:item></rss>", "has items, but none of them could be read"),
    ],
)  # fmt: skip
def test_what_is_no_feed_is_named(body: bytes, words: str) -> None:
    assert words in reason(body)


@given(st.binary(max_size=200))
def test_anything_at_all_gives_an_answer(body: bytes) -> None:
    for start in (b"", b"<rss>", b"\x1f\x8b", b"<?xml", codecs.BOM_UTF16_BE):
        answer = parse(Document(body=start + body, url=URL), MEDIA)
        if isinstance(answer, Failed):
            assert answer.reason
            assert "\n" not in answer.reason


@pytest.mark.parametrize("cut", range(1, 400, 7))
def test_a_document_that_is_cut_is_never_a_shorter_feed(cut: int) -> None:
    whole = rss("<guid>2</guid><title>Grüne</title>" + MP3, "<guid>1</guid>" + MP3)
    closed = whole.index(b"</channel>") + len("</channel>")
    answer = parse(Document(body=whole[:-cut], url=URL), MEDIA)
    if len(whole) - cut == closed:
        assert answer == parsed(whole)
    else:
        assert isinstance(answer, Failed)


@pytest.mark.parametrize(
    "body",
    [
        rss(MP3)[: -len("</rss>")],
        rss(MP3).replace(b"</rss>", b"\n"),
        rss(MP3).replace(b"</rss>", b"</RSS \n>"),
        rss(MP3).replace(b"<rss", b"<RSS"),
        rss(MP3).replace(b"</rss>", b"</rss>\n\n<!-- </rss -->"),
    ],
)
def test_a_document_with_all_its_items_is_whole(body: bytes) -> None:
    assert len(items(body)) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"<rss><channel><item><description><![CDATA[<rss></rss>",
        b"<rss><channel></channel><item>",
        b"<feed><entry></entry>",
        b"<rdf:RDF><channel></channel><item></item>",
        b"<rss><channel><item><description>&lt;/rss&gt;",
        b"<rss",
        b"<rss><channel></channel></rss",
    ],
)
def test_a_document_is_cut_short_if_its_root_is_not_closed(body: bytes) -> None:
    assert "cut short" in reason(body)


# gzip that nobody announced


def test_packed_documents_are_unpacked_twice_at_most() -> None:
    once = gzip.compress(rss(MP3))
    twice = gzip.compress(once)
    assert parsed(once) == parsed(twice) == parsed(rss(MP3))
    assert "more than twice" in reason(gzip.compress(twice))


def test_a_stream_of_several_members_is_one_document() -> None:
    body = rss(MP3)
    assert parsed(gzip.compress(body[:100]) + gzip.compress(body[100:])) == parsed(body)


def test_a_cut_or_damaged_stream_is_named() -> None:
    packed = gzip.compress(rss(MP3))
    assert "packed with gzip and cut short" in reason(packed[:-10])
    assert "packed with gzip and cut short" in reason(packed[:5])
    assert "packed with gzip and damaged" in reason(packed[:40] + b"\0" * 40 + packed[80:])
    assert "packed with gzip and damaged" in reason(b"\x1f\x8b\xff\xff" + bytes(50))


def test_a_bomb_is_not_unpacked_to_its_end() -> None:
    bomb = gzip.compress(bytes(60_000_000))
    assert "holds more than 50 MB" in reason(bomb)
    assert "holds more than 50 MB" in reason(gzip.compress(bomb))


# What feedparser does not bear


def broken(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> ParsedFeed | Failed:
    """What is made of a good document over which feedparser breaks."""

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("feedwatch.feeds.parse.feedparser.parse", fail)
    return parse(
        Document(body=rss("<title>One</title>"), url="https://h.example/feed.xml"),
        ["audio/*"],
    )


def test_an_error_of_any_class_fails_the_document_and_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer = broken(monkeypatch, AttributeError("'NoneType' has no\n  'x'"))
    assert answer == Failed(
        "the document could not be read as a feed (AttributeError: 'NoneType' has no 'x')"
    )


def test_a_lack_of_memory_is_no_fault_of_the_document(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MemoryError):
        broken(monkeypatch, MemoryError())


def test_a_document_of_more_items_than_any_feed_has_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parser, "MAX_ITEMS", 2)
    answers = [
        parse(
            Document(body=rss(*["<title>One</title>"] * count), url="https://h.example/feed.xml"),
            ["audio/*"],
        )
        for count in (2, 3)
    ]
    assert isinstance(answers[0], ParsedFeed)
    assert answers[1] == TOO_MANY_ITEMS
