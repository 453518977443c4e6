"""Which feeds of a list are new, and to which podcasts they go."""

import pytest

from feedwatch.config.key_names import FEED_NAME
from feedwatch.core.feed import Feed
from feedwatch.core.import_plan import Entry, Outcome, Outline, free_name, import_plan
from feedwatch.core.podcast_names import Podcast
from feedwatch.core.settings import FeedConfig

DAILY = Podcast("p-1", "The Daily")
WEEKLY = Podcast("p-2", "Weekly Science")
TWINS = (Podcast("p-3", "Twins"), Podcast("p-4", "Twins"))
PODCASTS = (DAILY, WEEKLY, *TWINS)
KNOWN = FeedConfig(name="known", url="https://a.example/known.xml", podcast_id="p-9")


def outline(title: str, url: str | None = None, podcast_id: str | None = None) -> Outline:
    address = url or f"https://a.example/{title.replace(' ', '')}.xml"
    return Outline(url=address, titles=(title,), podcast_id=podcast_id)


def plan(
    *outlines: Outline,
    sources: tuple[FeedConfig, ...] = (KNOWN,),
    remembered: tuple[Feed, ...] = (),
) -> list[Entry]:
    def is_address(url: str) -> bool:
        return url.startswith("http")

    return import_plan(outlines, sources, remembered, PODCASTS, is_address)


def only(entry: Outline) -> Entry:
    (found,) = plan(entry)
    return found


def test_a_new_feed_goes_to_the_podcast_of_its_name_and_gets_a_name_of_its_title() -> None:
    found = only(outline("The DAILY!"))
    assert (found.outcome, found.podcast, found.name) == (Outcome.NEW, DAILY, "the_daily")


@pytest.mark.parametrize(
    "url",
    [
        "https://a.example/known.xml",
        "http://A.example:80/known.xml",
        "https://a.example/kno%77n.xml",
        "https://a.example/known.xml/",
        "https://a.example/known.xml#top",
        "https://me:secret@a.example/known.xml",
    ],
)
def test_a_configured_feed_is_known_however_its_address_is_spelt(url: str) -> None:
    found = only(outline("The Daily", url))
    assert (found.outcome, found.why) == (Outcome.KNOWN, "configured as feed known")


def test_a_query_tells_two_feeds_apart() -> None:
    base = "https://a.example/known.xml?auth="
    found = plan(outline("The Daily", base + "1"), outline("Weekly Science", base + "2"))
    assert [one.outcome for one in found] == [Outcome.NEW, Outcome.NEW]


def test_a_feed_that_the_list_has_twice_counts_once() -> None:
    found = plan(outline("The Daily"), outline("The Daily"))
    assert [one.outcome for one in found] == [Outcome.NEW, Outcome.KNOWN]
    assert found[1].why == "in this file once already"


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (outline("Nobody knows it"), "no podcast has its name"),
        (outline("The Dail"), "these have one alike: The Daily (p-1)"),
        (outline("Twins"), "several podcasts have its name: p-3, p-4"),
        (outline("The Daily", "ftp://a.example/f"), "it has no address that begins with http"),
        (outline("The Daily", podcast_id="p-7"), "the API key does not reach its podcast p-7"),
        (Outline(url="https://a.example/f", titles=()), "no podcast has its name"),
        (
            Outline(url="https://a.example/f", titles=("The Daily", "Weekly Science")),
            "several podcasts have its name: p-1, p-2",
        ),
    ],
)
def test_what_cannot_be_matched_is_left_with_the_reason(entry: Outline, why: str) -> None:
    found = only(entry)
    assert (found.outcome, found.podcast, found.name) == (Outcome.LEFT, None, "")
    assert why in found.why


def test_either_title_may_be_the_shows() -> None:
    entry = Outline(url="https://a.example/f", titles=("What I call it", "Weekly Science"))
    assert only(entry).podcast == WEEKLY


def test_a_podcast_that_a_feed_fills_already_is_left_since_each_episode_would_be_paid_twice() -> (
    None
):
    filled = FeedConfig(name="daily", url="https://old.example/f", podcast_id="p-1")
    (found,) = plan(outline("The Daily"), sources=(filled,))
    assert found.why == "its podcast p-1 gets the episodes of feed daily already"


def test_of_two_addresses_with_the_name_of_one_podcast_neither_is_chosen() -> None:
    found = plan(outline("The Daily"), outline("The daily", "https://b.example/f"))
    assert [one.outcome for one in found] == [Outcome.LEFT, Outcome.LEFT]
    assert found[0].why == "2 feeds of this file have the name of podcast p-1"


def test_the_podcasts_that_our_own_export_names_are_taken_as_they_are() -> None:
    found = plan(
        outline("one", podcast_id="p-3"),
        outline("two", podcast_id="p-3"),
        outline("the-third", podcast_id="p-4"),
    )
    assert [(one.name, one.podcast) for one in found] == [
        ("one", TWINS[0]),
        ("two", TWINS[0]),
        ("the-third", TWINS[1]),
    ]


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("The Daily", "the_daily"),
        ("Café & Bar: 100 %", "cafe_bar_100"),
        ("Let's talk", "lets_talk"),
        ("a__b_", "a_b"),
        ("my-show", "my-show"),
        ("known", "known_2"),
        ("日本語", "media_example_org"),
        ("x" * 99, "x" * 40),
        ("word " * 20, "word_word_word_word_word_word_word_word"),
    ],
)
def test_a_name_is_valid_free_and_told_by_the_title(title: str, name: str) -> None:
    found = free_name(title, "https://media.example.org/feed", {"known"})
    assert found == name
    assert FEED_NAME.fullmatch(found)
    assert "__" not in found


def test_a_feed_without_title_and_host_gets_a_name_all_the_same() -> None:
    assert free_name("…", "https://例え.example", ()) == "example"
    assert free_name("…", "https://例え", ("feed",)) == "feed_2"


def test_a_feed_of_a_former_config_gets_its_name_back_and_no_other_feed_gets_it() -> None:
    gone = Feed(name="the_daily", url="https://a.example/TheDaily.xml", active=False)
    (found,) = plan(outline("The Daily"), remembered=(gone,))
    assert found.name == "the_daily"
    (found,) = plan(outline("The Daily", "https://b.example/f"), remembered=(gone,))
    assert found.name == "the_daily_2"
