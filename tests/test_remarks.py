"""What looks well and brings nothing, or not all, is said: remarks, and the troubles they are."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from feedwatch.core.alert import Trouble
from feedwatch.core.circuit_breaker import CircuitBreaker
from feedwatch.core.episode import State
from feedwatch.core.feed import RemarkKind
from feedwatch.core.json_forms import feed_json, remark
from feedwatch.core.settings import FirstRun, Rules
from feedwatch.feeds import pages
from feedwatch.feeds.links import links_of
from feedwatch.notify.alert_rules import current_troubles
from tests.support import item, published
from tests.world import World, world

HEAD = (
    '<rss version="2.0" xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd" '
    'xmlns:atom="http://www.w3.org/2005/Atom"><channel><title>A show</title>'
)
TAIL = "</channel></rss>"


def document(*items: str | int, head: str = "", end: str = "") -> bytes:
    """A feed whose channel has more in it, before its items or after them."""
    body = "".join(item(one) if isinstance(one, int) else one for one in items)
    return f"{HEAD}{head}{body}{end}{TAIL}".encode()


def text(number: int) -> str:
    """An item without an enclosure."""
    return f"<item><title>Post {number}</title><guid>post-{number}</guid></item>"


def bare(number: int, address: str, title: str | None = None) -> str:
    """An item without a guid."""
    one = item(number, title=title, url=address)
    return one.replace(f'<guid isPermaLink="false">guid-{number}</guid>\n', "")


@pytest.fixture
def one(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path / "feedwatch.db") as found:
        configure(found)
        found.feeds.etags = False
        yield found


def configure(one: World, first_run: FirstRun = FirstRun(), **rules: object) -> None:  # noqa: B008
    source = one.source("show")
    one.sources = [replace(source, rules=Rules(first_run=first_run, **rules))]  # type: ignore[arg-type]
    one.restart()


def check(one: World, body: bytes, path: str = "/feed.xml") -> None:
    serve(one, body, path)
    one.later(hours=1)
    one.check()


def serve(one: World, body: bytes, path: str = "/feed.xml") -> None:
    one.feeds.answer(200, body, path=path)


def kinds(one: World) -> list[RemarkKind]:
    """Of the remarks on the feed; each is a trouble, in `feeds --json` and in its line, too."""
    (feed,) = one.store.feeds.all()
    found = [remark.kind for remark in feed.remarks or ()]
    troubles: list[Trouble] = current_troubles(
        one.store.feeds.in_trouble(), {"inlet": CircuitBreaker()}, []
    )
    assert [one.kind for one in troubles if one.kind in list(RemarkKind)] == found
    said = feed_json(feed, CircuitBreaker(), None)["remarks"]
    assert len(said) == len(found)
    assert all(text in (remark(feed) or "") for text in said)
    return found


def test_a_healthy_feed_has_none(one: World) -> None:
    check(one, document(3, 2, 1, head=f"<link>{one.feeds.url}</link>"))
    check(one, document(item(4, when=one.now), text(9), 3, 2, 1))
    assert kinds(one) == []


def test_a_feed_without_enclosures_says_so_until_it_has_one(one: World) -> None:
    check(one, document(text(2), text(1)))
    assert kinds(one) == [RemarkKind.NO_ENCLOSURES]
    check(one, document(text(3), text(2), text(1)))
    assert kinds(one) == [RemarkKind.NO_ENCLOSURES], "also by the fast scan"
    check(one, document(item(4, when=one.now), text(3), text(2)))
    assert kinds(one) == []


def test_enclosures_of_other_types_are_none(one: World) -> None:
    video = [
        item(number, media_type="video/mp4", url=f"http://x.example/{number}.mp4")
        for number in (1, 2)
    ]
    configure(one, media_types=("audio/*",))
    check(one, document(*video))
    assert kinds(one) == [RemarkKind.NO_ENCLOSURES]
    configure(one)
    one.later(hours=1)
    one.check()
    assert kinds(one) == []


LATEST = "https://media.example.org/latest.mp3"


def test_a_fixed_address_without_guids_is_said_when_it_shows(one: World) -> None:
    check(one, document(bare(1, LATEST)))
    assert kinds(one) == []
    check(one, document(bare(2, LATEST)))
    assert kinds(one) == [RemarkKind.FIXED_ADDRESS]
    check(one, document(bare(2, LATEST), "<!-- nothing new -->"))
    assert kinds(one) == [RemarkKind.FIXED_ADDRESS], "its items show it no more, it is so still"
    check(one, document(bare(3, "https://media.example.org/3.mp3")))
    assert kinds(one) == []


def test_a_fixed_address_shows_in_a_first_document_with_two_titles(one: World) -> None:
    check(one, document(bare(2, LATEST), bare(1, LATEST)))
    assert kinds(one) == [RemarkKind.FIXED_ADDRESS]


@pytest.mark.parametrize(
    "items",
    [
        (item(2, url=LATEST),),  # with a guid
        (bare(1, LATEST, "A typo mended"),),  # with its old date
        (bare(1, LATEST), item(2)),
    ],
)
def test_what_only_looks_like_a_fixed_address_is_not_said(
    one: World, items: tuple[str, ...]
) -> None:
    check(one, document(bare(1, LATEST)))
    check(one, document(*items))
    assert kinds(one) == []


@pytest.mark.parametrize(
    "named",
    [
        "<itunes:new-feed-url>https://new.example/feed.xml</itunes:new-feed-url>",
        "<itunes:new-feed-url><![CDATA[ https://new.example/feed.xml ]]></itunes:new-feed-url>",
        "<ITUNES:NEW-FEED-URL>\nhttps://new.example/feed.xml\n</ITUNES:NEW-FEED-URL>",
    ],
)
def test_an_address_that_the_publisher_names_is_said_wherever_it_stands(named: str) -> None:
    for body in (document(1, head=named), document(1, end=named)):
        assert links_of(body, "http://old.example/").new_feed_url == "https://new.example/feed.xml"


def test_a_feed_that_names_its_own_address_has_not_moved(one: World) -> None:
    own = one.feeds.url
    for said in (own, own.replace("http:", "https:"), f" {own}#top ", f"{own}/", "", "see below"):
        head = f"<itunes:new-feed-url>{said}</itunes:new-feed-url>"
        check(one, document(item(1, description=said or "x"), head=head))
        assert kinds(one) == [], said
    check(one, document(1, head=f"<itunes:new-feed-url>{own}?new=1</itunes:new-feed-url>"))
    assert kinds(one) == [RemarkKind.NEW_FEED_URL]
    check(one, document(1))
    assert kinds(one) == []


def test_what_stands_in_an_item_or_a_comment_is_no_link_of_the_feed() -> None:
    link = '<atom:link rel="next" href="http://x.example/2"/>'
    moved = "<itunes:new-feed-url>https://new.example/</itunes:new-feed-url>"
    body = document(item(1, more=link + moved), 2, head=f"<!-- {link} {moved} -->")
    assert links_of(body, "http://x.example/") == links_of(b"", "http://x.example/")


@pytest.mark.parametrize(
    ("link", "leads"),
    [
        ('<atom:link rel="next" href="?page=2"/>', "http://x.example/feed?page=2"),
        ("<link href='/p/2&amp;x=1' rel='prev next' />", "http://x.example/p/2&x=1"),
        ('<a10:link\n REL="NEXT"\n HREF="http://y.example/2">', "http://y.example/2"),
        ('<atom:link rel="self" href="?page=1"/>', None),
        ('<atom:link rel="next-archive" href="?page=1"/>', None),
        ('<atom:link rel="next" href="ftp://x.example/2"/>', None),
        ('<atom:link rel="next" href="http://[x/2"/>', None),
        ('<atom:link rel="next"/>', None),
    ],
)
def test_the_next_page_of_a_feed(link: str, leads: str | None) -> None:
    assert links_of(document(1, head=link), "http://x.example/feed").next_page == leads


def test_items_that_could_not_be_read_are_said_until_they_are(one: World) -> None:
    check(one, document(item(3, more="<itunes:summary>x</itunes:sumary>"), 2, 1))
    assert kinds(one) == [RemarkKind.UNREAD]
    check(one, document(3, 2, 1))
    assert kinds(one) == []


def test_a_failed_check_leaves_the_remarks_and_another_url_ends_them(one: World) -> None:
    check(one, document(text(1)))
    one.feeds.answer(500)
    one.later(hours=1)
    one.check()
    (feed,) = one.store.feeds.all()
    assert [remark.kind for remark in feed.remarks or ()] == [RemarkKind.NO_ENCLOSURES]
    one.sources = [one.source("show", "/other.xml")]
    one.restart()
    (feed,) = one.store.feeds.all()
    assert feed.remarks is None


# Pages


def paged(one: World, *pages: list[int]) -> None:
    """Serve a feed in pages, each of which names the next."""
    for number, numbers in enumerate(pages, start=1):
        link = f'<atom:link rel="next" href="/{number + 1}.xml"/>' if number < len(pages) else ""
        path = "/feed.xml" if number == 1 else f"/{number}.xml"
        serve(one, document(*numbers, head=link), path)


def queued(one: World) -> list[str | None]:
    found = [guid for guid, state in one.states().items() if state is State.QUEUED]
    return sorted(found, key=str)


def asked(one: World) -> list[str]:
    return [path for path, _ in one.feeds.seen]


@pytest.mark.parametrize(
    ("first_run", "submitted", "pages_read"),
    [
        (FirstRun(everything=True), [1, 2, 3, 4, 5, 6], 3),
        (FirstRun(latest=2), [5, 6], 1),
        (FirstRun(latest=3), [4, 5, 6], 2),
        (FirstRun(latest=9), [1, 2, 3, 4, 5, 6], 3),
        (FirstRun(since=published(4).date()), [4, 5, 6], 3),
        (FirstRun(), [], 1),
    ],
)
def test_pages_are_read_as_far_as_the_first_run_wants_them(
    one: World, first_run: FirstRun, submitted: list[int], pages_read: int
) -> None:
    configure(one, first_run)
    paged(one, [6, 5], [4, 3], [2, 1])
    one.check()
    assert queued(one) == [f"guid-{number}" for number in submitted]
    assert len(asked(one)) == pages_read
    assert kinds(one) == []


def test_pages_are_read_once_and_what_falls_off_the_first_one_is_no_alarm(one: World) -> None:
    configure(one, FirstRun(everything=True), flood_limit=1)
    paged(one, [6, 5], [4, 3], [2, 1])
    one.check()
    before = len(asked(one))
    paged(one, [7, 6], [5, 4], [3, 2])
    one.later(hours=1)
    one.check()
    assert len(asked(one)) == before + 1
    assert one.states()["guid-7"] is State.QUEUED
    assert kinds(one) == []


def test_items_that_move_to_the_next_page_meanwhile_are_one_episode_each(one: World) -> None:
    configure(one, FirstRun(everything=True))
    paged(one, [4, 3], [3, 2, 1])
    one.check()
    assert queued(one) == [f"guid-{number}" for number in (1, 2, 3, 4)]


def test_a_page_that_fails_fails_the_check_three_times_and_is_said_then(one: World) -> None:
    configure(one, FirstRun(everything=True))
    paged(one, [4, 3], [2, 1])
    one.feeds.answer(503, path="/2.xml")
    for failures in (1, 2, 3):
        one.later(days=1)
        one.check()
        (feed,) = one.store.feeds.all()
        assert (feed.failures, feed.baseline_at) == (failures, None)
        assert "further page" in (feed.error or "")
    one.later(days=1)
    one.check()
    assert queued(one) == ["guid-3", "guid-4"]
    assert kinds(one) == [RemarkKind.PAGES]
    one.later(days=1)
    one.check()
    assert kinds(one) == [RemarkKind.PAGES]


@pytest.mark.parametrize("bound", ["MAX_PAGES", "MAX_BYTES", "MAX_SECONDS"])
def test_pages_without_end_are_bounded(
    one: World, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    configure(one, FirstRun(everything=True))
    monkeypatch.setattr(pages, bound, {"MAX_PAGES": 2, "MAX_BYTES": 1500, "MAX_SECONDS": -1}[bound])
    paged(one, *([number] for number in range(9, 0, -1)))
    one.check()
    assert 1 <= len(queued(one)) < 9
    assert kinds(one) == [RemarkKind.PAGES]


def test_pages_in_a_circle_end(one: World) -> None:
    configure(one, FirstRun(everything=True))
    serve(one, document(2, head='<atom:link rel="next" href="/2.xml"/>'))
    serve(one, document(1, head='<atom:link rel="next" href="/feed.xml"/>'), "/2.xml")
    one.check()
    assert queued(one) == ["guid-1", "guid-2"]


def test_a_page_that_is_no_feed_is_said(one: World) -> None:
    configure(one, FirstRun(everything=True))
    paged(one, [2], [1])
    serve(one, b"<html><title>All episodes</title></html>", "/2.xml")
    one.check()
    assert queued(one) == ["guid-2"]
    assert kinds(one) == [RemarkKind.PAGES]


# Rhythm


def undated(number: int) -> str:
    return item(number).replace("pubDate", "x")


def test_an_undated_feed_gets_a_rhythm_from_when_its_episodes_were_first_seen(one: World) -> None:
    check(one, document(*map(undated, (3, 2, 1))))
    for number in range(4, 9):
        one.later(days=7)
        check(one, document(*map(undated, (number, number - 1, number - 2))))
        (feed,) = one.store.feeds.all()
        assert (feed.expected_by is None) is (number < 8), "the first check tells of no rhythm"
    assert feed.expected_by is not None
    assert timedelta(days=21) <= feed.expected_by - one.now < timedelta(days=22)
    one.later(days=23)
    one.check()
    (feed,) = one.store.feeds.all()
    assert feed.silent_since == one.now
