"""The normal form of keys, version 1, which is frozen: what was paid for is known by its hash."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from html import escape
from typing import Literal, get_args
from unicodedata import normalize
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedwatch.core.admission import Verdict, admitted, decide
from feedwatch.core.feed import Document, Failed, Item, ParsedFeed
from feedwatch.core.identity import (
    MOST_KEYS,
    Key,
    KeyKind,
    comparable,
    guid_key,
    keys_of,
    surplus,
    title_key,
)
from feedwatch.core.match_items import match_items
from feedwatch.core.settings import FirstRun, Rules
from feedwatch.feeds import parse
from feedwatch.feeds.enclosures import absolute
from feedwatch.feeds.scan import all_items, changed_items
from feedwatch.feeds.scan.cache import SeenItems
from tests.shows import BEGUN, Memory, item, verdicts
from tests.support import item as rss_item
from tests.support import published
from tests.support import rss as rss_of

WHEN = datetime(2026, 3, 1, 6, 30, 5, tzinfo=UTC)
URL = "https://feeds.example/feed.xml"
A_UMLAUT, NFD_A = "\u00e4", "a\u0308"


# Literals on both sides: never compute one of them, never change one of them. A new row is welcome.
GUIDS = {
    "ep-1": "guid:ep-1",
    "Ep 1  x": "guid:Ep 1  x",
    "https://p.example/?p=1&q=2": "guid:https://p.example/?p=1&q=2",
    "HTTP://P.example:80/": "guid:HTTP://P.example:80/",
    "gr\u00f6\u00dfe": "guid:gr\u00f6\u00dfe",
    "gro\u0308\u00dfe": "guid:gr\u00f6\u00dfe",
    "\ufb01\u2460": "guid:\ufb01\u2460",
    "gr%C3%B6%C3%9Fe": "guid:gr\u00f6\u00dfe",
    "gro%cc%88%c3%9fe": "guid:gr\u00f6\u00dfe",
    "a%41%2d%7E": "guid:aA-~",
    "a%2fb%3Fc%23d%25e%26f%3dg%2bh%3bi": "guid:a%2Fb%3Fc%23d%25e%26f%3Dg%2Bh%3Bi",
    "100% fun": "guid:100%25 fun",
    "%4%31": "guid:%2541",
    "%ff%C3%28": "guid:%FF%C3(",
    "%fc%cc%a7": "guid:%FC\u0327",
    "a%00b": "guid:a%00b",
    "x" * 500: "guid:" + "x" * 500,
    "x" * 501: "guid:sha256-3ac31d30e2ef713a7d4803d2923982618af0bfb6488e67e2bcb9d0050f24d56a",
}
TITLES = {
    "Episode  12:\tTea": "date:2026-03-01T06:30:05 episode 12: tea",
    "Gr\u00f6\u00dfe": "date:2026-03-01T06:30:05 gr\u00f6sse",
    "GRO\u0308SSE": "date:2026-03-01T06:30:05 gr\u00f6sse",
    "\ufb01ne \u2460 \uff34\uff45\uff41": "date:2026-03-01T06:30:05 fine 1 tea",
    "No.\u00a05": "date:2026-03-01T06:30:05 no. 5",
    "\u0130stanbul": "date:2026-03-01T06:30:05 i\u0307stanbul",
    "\u01f0": "date:2026-03-01T06:30:05 \u01f0",
    "\u03a3\u03ac\u03c2": "date:2026-03-01T06:30:05 \u03c3\u03ac\u03c3",
    "\u1fb3\u0301": "date:2026-03-01T06:30:05 \u03ac\u03b9",
    "100%25": "date:2026-03-01T06:30:05 100%25",
    "\U0001f600 \u65e5\u672c": "date:2026-03-01T06:30:05 \U0001f600 \u65e5\u672c",
    "t" * 501: "date:2026-03-01T06:30:05 "
    "sha256-e9682e0a649a3054ce35ce55be0eadc4c3bb92c3a164ce95d233f7e38b563862",
}
URLS = {
    "https://m.example/a.mp3": "file:m.example/a.mp3",
    "http://M.Example:80/A.mp3#t=1": "file:m.example/A.mp3",
    "https://m.example:443/a": "file:m.example/a",
    "https://m.example.:/a": "file:m.example/a",
    "https://m.example:8443/a": "file:m.example:8443/a",
    "https://[2001:db8::80]/a": "file:[2001:db8::80]/a",
    "https://stra\u00dfe.example/a": "file:xn--strae-oqa.example/a",
    "https://xn--strae-oqa.example/a": "file:xn--strae-oqa.example/a",
    "https://\u03b2\u03cc\u03bb\u03bf\u03c2.example/": "file:xn--nxasmm1c.example/",
    "https://\U0001f4a9.la/a": "file:xn--ls8h.la/a",
    "https://m.example/gr\u00f6\u00dfe": "file:m.example/gr\u00f6\u00dfe",
    "https://m.example/gro\u0308\u00dfe": "file:m.example/gr\u00f6\u00dfe",
    "https://m.example/gr%c3%b6%C3%9Fe": "file:m.example/gr\u00f6\u00dfe",
    "https://m.example/%41%20b%28%29%21%2c%3a%40": "file:m.example/A b()!,:@",
    "https://m.example/a b": "file:m.example/a b",
    "https://m.example/a%2fb%3fc%23d%25e%26f%3Dg%2bh%3bi":
        "file:m.example/a%2Fb%3Fc%23d%25e%26f%3Dg%2Bh%3Bi",
    "https://m.example/%fc%FC.mp3": "file:m.example/%FC%FC.mp3",
    "https://m.example/100%.mp3": "file:m.example/100%25.mp3",
    "https://m.example/%2541": "file:m.example/%2541",
    "https://m.example/?%74oken=1&%69d=2&": "file:m.example/?id=2",
    "https://c.example/1.mp3?token-time=1&token-hash=2": "file:c.example/1.mp3",
    "https://op3.dev/%65/m.example/a%20b": "file:m.example/a b",
    "https://anchor.fm/s/9/podcast/play/5/https%3A%2F%2FM.example%2Fa%2520b%252Fc%3Fid%3D1%26sig%3D2":
        "file:m.example/a b%2Fc?id=1",
    "https://m.example/" + "y" * 600:
        "file:sha256-bb7eae23495fddf4197803fe9ad6269e0a1f576b671f10a37833de19b31b9a5f",
}  # fmt: skip


def made_up(number: int = 1, **values: object) -> Item:
    return item(number, **{"published_at": WHEN, "guid": None, "title": ""} | values)


def keys(one: Item) -> list[str]:
    return [str(key) for key in keys_of([one])[0]]


@pytest.mark.parametrize("guid", GUIDS)
def test_the_text_of_a_guid_s_key_never_changes(guid: str) -> None:
    assert keys(made_up(guid=guid))[0] == GUIDS[guid]


@pytest.mark.parametrize("title", TITLES)
def test_the_text_of_a_title_s_key_never_changes(title: str) -> None:
    assert keys(made_up(title=title))[-1] == TITLES[title]


@pytest.mark.parametrize("url", URLS)
def test_the_text_of_an_address_s_key_never_changes(url: str) -> None:
    assert keys(made_up(enclosure_url=absolute(url, "", URL))) == [URLS[url]]


def test_a_hashed_key_is_the_hash_of_its_normal_form() -> None:
    for spelling in (A_UMLAUT, NFD_A, quote(A_UMLAUT), quote(NFD_A).lower()):
        digest = sha256((A_UMLAUT * 501).encode()).hexdigest()
        assert guid_key(spelling * 501) == f"sha256-{digest}"


@given(st.text(max_size=40))
def test_what_is_in_the_normal_form_stays_as_it_is(text: str) -> None:
    assert guid_key(guid_key(text)) == guid_key(text)
    assert title_key(title_key(text)) == title_key(text)
    url = comparable(f"https://m.example/{text}", whole_query=True)
    assert comparable(url, whole_query=True) == url


@given(st.binary(max_size=12), st.binary(max_size=12))
def test_two_files_stay_two_whatever_octets_their_names_have(one: bytes, other: bytes) -> None:
    def name(octets: bytes) -> str:
        return comparable(f"https://m.example/{quote(octets, safe='')}")

    def form(octets: bytes) -> str:
        return normalize("NFC", octets.decode("utf-8", "surrogateescape"))

    assert (name(one) == name(other)) is (form(one) == form(other))


# A document in other words

LETTERS = "aZ09 .-_~!'()*,:@äößéñąő가日本ﬁ①Ｋ𝒯☕"  # no two that are UTF-8 by mistake, in Latin-1
TEXTS = st.text(st.sampled_from(LETTERS), min_size=1, max_size=12).filter(str.strip)
Form = Literal["NFC", "NFD", "NFKC", "NFKD"]
FORMS = st.sampled_from(get_args(Form))
CANONICAL: tuple[Form, ...] = ("NFC", "NFD")
ENCODINGS = st.sampled_from(["utf-8", "iso-8859-1", "windows-1252", "utf-16"])


@st.composite
def escaped(draw: st.DrawFn, name: str) -> str:
    """A name in an address: each octet as it is or escaped, with either case of digits."""
    form = draw(st.sampled_from(CANONICAL))
    written = []
    for letter in normalize(form, name):
        escapes = "".join(f"%{octet:02X}" for octet in letter.encode())
        kept = letter if letter != " " else "%20"
        written.append(draw(st.sampled_from([kept, escapes, escapes.lower()])))
    return "".join(written)


@st.composite
def spelt(draw: st.DrawFn, names: Sequence[str]) -> bytes:
    """The document of these items in one of its many spellings."""
    form: Form = draw(FORMS)
    items = [
        rss_item(
            number,
            title=escape(normalize(form, f"{name} {number}")),
            guid=f"https://p.example/{draw(escaped(name))}-{number}",
            url=f"https://m.example/{draw(escaped(name))}-{number}.mp3",
            when=published(number),
        )
        for number, name in enumerate(names)
    ]
    encoding = draw(ENCODINGS)
    text = rss_of(*items).decode().replace('encoding="UTF-8"', f'encoding="{encoding}"')
    return text.encode(encoding, "xmlcharrefreplace")


class InProcess:
    """feedparser in this process."""

    def parse(self, document: Document, media_types: Sequence[str]) -> ParsedFeed | Failed:
        return parse.parse(document, media_types)

    def close(self) -> None:
        pass


RULES = Rules(first_run=FirstRun(everything=True), flood_limit=99)


def fully(body: bytes) -> tuple[Item, ...]:
    changed = all_items(Document(body=body, url=URL), RULES, InProcess())
    assert not isinstance(changed, Failed), changed
    return tuple(replace(one, description=None) for one in changed.parsed.items)


def scanned(body: bytes) -> tuple[Item, ...] | None:
    document = Document(body=body, url=URL)
    changed = changed_items(document, SeenItems(rules=RULES), InProcess())
    assert not isinstance(changed, Failed), changed
    if changed is None:
        return None
    return tuple(replace(one, description=None) for one in changed.parsed.items)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.lists(TEXTS, min_size=1, max_size=4))
def test_a_known_document_in_another_spelling_has_nothing_new(
    data: st.DataObject, names: list[str]
) -> None:
    memory = Memory(RULES)
    memory.take(*fully(data.draw(spelt(names))))
    for _ in range(3):
        again = data.draw(spelt(names))
        items = fully(again)
        assert scanned(again) in (items, None)
        assert verdicts(memory.look(*items)) == [Verdict.KNOWN] * len(names)
        by_all = [[str(key) for key in own] for own in keys_of(items)]
        assert {text for own in by_all for text in own} == {str(key) for key in memory.keys}


# What is kept is bounded


def test_of_an_episode_s_addresses_the_first_and_the_latest_are_kept() -> None:
    addresses = [Key(KeyKind.FILE, str(number)) for number in range(40)]
    others = [Key(KeyKind.GUID, "g"), Key(KeyKind.DATE, "d")]
    gone = surplus([others[0], *addresses, others[1]])
    assert [key for key in addresses if key not in gone] == [addresses[0], *addresses[-11:]]
    assert len(gone) == 28


@pytest.mark.parametrize("kind", KeyKind)
def test_nothing_goes_before_there_are_too_many(kind: KeyKind) -> None:
    most = MOST_KEYS[kind]
    some = [Key(kind, str(number)) for number in range(most + 1)]
    for number in range(most + 1):
        assert surplus(some[:number]) == []
    assert surplus(some) == [some[1]]


def test_a_guid_without_end_is_kept_as_its_hash_and_tells_episodes_apart() -> None:
    items = [item(number, guid=f"G{number}" * 5_000) for number in (2, 1)]
    decisions = decide(
        match_items(items, keys_of(items), {}, {}, {}, shown_before=0), BEGUN, RULES, WHEN
    )
    assert verdicts(decisions) == [Verdict.SUBMIT] * 2
    for one, decision in zip(items, decisions, strict=True):
        episode = admitted(decision, "show", WHEN)
        assert episode is not None
        assert f"guid:{episode.guid}" == keys(one)[0]
        assert re.fullmatch("sha256-[0-9a-f]{64}", episode.guid or "")


@pytest.mark.parametrize("spell", [lambda guid: guid, lambda guid: normalize("NFD", guid)])
def test_a_guid_that_can_be_kept_is_shown_as_its_publisher_wrote_it(
    spell: Callable[[str], str],
) -> None:
    guid = spell("grö%C3%9Fe")
    items = [item(1, guid=guid)]
    (decision,) = decide(
        match_items(items, keys_of(items), {}, {}, {}, shown_before=0), BEGUN, RULES, WHEN
    )
    episode = admitted(decision, "show", WHEN)
    assert episode is not None
    assert episode.guid == guid
