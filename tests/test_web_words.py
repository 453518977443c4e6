"""What the page says in words, and the orders that its lists have."""

import re
from dataclasses import fields, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import escape

from feedwatch.config.title_pattern import TitlePattern
from feedwatch.core import masking
from feedwatch.core.episode import State
from feedwatch.core.feed import Feed
from feedwatch.core.pipeline import PipelineStep, Step
from feedwatch.core.rhythm import WEEKS, Published, gaps, rhythm_in_words
from feedwatch.core.settings import FeedConfig, FirstRun, FutureDated, OnReplaced, Rules
from feedwatch.web import rhythm
from feedwatch.web.show_text import cut, finalize, link, moment, paragraphs, shown
from feedwatch.web.words import feed_in_words
from tests.page_site import field, logged_in, page_site

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)  # a Saturday
DAY = timedelta(days=1)


def config(**values: Any) -> FeedConfig:
    return FeedConfig(name="show", url="https://a.example/f", podcast_id="p", **values)


@pytest.mark.parametrize(
    ("first_run", "words"),
    [
        (FirstRun(), "At the first check nothing was submitted."),
        (FirstRun(everything=True), "At the first check all items were submitted."),
        (FirstRun(latest=3), "Submitted at the first check: the latest 3 items."),
        (FirstRun(since=date(2026, 1, 2)), "At the first check items since 2026-01-02 were submi"),
    ],
)
def test_the_first_run_is_told_in_words(first_run: FirstRun, words: str) -> None:
    told = feed_in_words(config(rules=Rules(first_run=first_run)))
    assert [line for line in told if line.startswith(words)]


def test_every_setting_of_a_feed_has_its_sentence_and_a_secret_is_in_none() -> None:
    plain = set(feed_in_words(config()))
    rules = Rules(
        include_title=TitlePattern("Interview"),
        exclude_title=TitlePattern("Rerun"),
        min_duration=timedelta(minutes=5),
        max_duration=timedelta(hours=2),
        on_replaced=OnReplaced.SUBMIT,
    )
    told = feed_in_words(
        config(
            rules=rules,
            ad_options={"preRoll": {"adCount": 1}},
            username="someone",
            password="s3cret-word",
            headers={"X-Token": "t0ken-word"},
        )
    )
    assert set(told) - plain == {
        "Audio that is replaced under a known episode is submitted.",
        "Only titles in which Interview is found.",
        "No titles in which Rerun is found.",
        "Nothing shorter than 5 min.",
        "Nothing longer than 2 h.",
        "Ad options of its own are asked for.",
        "It is read with a user name and a password.",
        "It is read with header fields of its own.",
    }


# What a feed may have besides, and where it is told.
NOT_IN_WORDS = {
    "name",  # the heading
    "url",  # below it
    "is_private",  # follows from the others
    "password",  # with the user name
    "serving",  # has a part of its own
}


def test_no_setting_of_a_feed_is_without_a_word() -> None:
    rules = {
        "first_run": FirstRun(latest=2),
        "flood_limit": 77,
        "on_replaced": OnReplaced.IGNORE,
        "include_title": TitlePattern("Interview"),
        "exclude_title": TitlePattern("Rerun"),
        "episode_types": frozenset({"trailer"}),
        "media_types": ("video/*",),
        "min_duration": timedelta(minutes=5),
        "max_duration": timedelta(hours=2),
    }
    others = {
        "podcast_id": "another",
        "pipeline": (PipelineStep(Step.ENHANCE, optional=True), PipelineStep(Step.ADS)),
        "check_interval": timedelta(hours=7),
        "ad_options": {"preRoll": {"adCount": 1}},
        "enhance": {"content": {"type": "voice_over"}},
        "future_dated": FutureDated.SUBMIT,
        "submit_delay": timedelta(hours=3),
        "username": "someone",
        "headers": {"X-Token": "t0ken-word"},
        "user_agent": "Reader/1.0",
    }
    assert rules.keys() == {one.name for one in fields(Rules)}
    assert others.keys() | NOT_IN_WORDS | {"rules"} == {one.name for one in fields(FeedConfig)}
    plain = feed_in_words(config())
    for name, value in rules.items():
        changed = replace(Rules(), **{name: value})  # type: ignore[arg-type]
        assert feed_in_words(config(rules=changed)) != plain, name
    for name, value in others.items():
        assert feed_in_words(replace(config(), **{name: value})) != plain, name  # type: ignore[arg-type]


def published(*days_ago: float, hour: int = 9) -> list[Published]:
    start = NOW.replace(hour=hour)
    days = sorted(days_ago, reverse=True)
    return [Published(at=start - number * DAY, state=State.READY) for number in days]


@pytest.mark.parametrize(
    ("days_ago", "words"),
    [
        ((1, 2), "no rhythm known yet; last episode 27 h"),
        (range(1, 9), "daily about 09:00 UTC"),
        (range(4, 60, 7), "weekly, Tuesdays about 09:00 UTC"),
        (range(4, 90, 14), "every two weeks, Tuesdays about 09:00 UTC"),
        (range(1, 31, 3), "about every 3 days about 09:00 UTC"),
    ],
)
def test_a_rhythm_is_told_in_words(days_ago: Any, words: str) -> None:
    feed = Feed(name="show", url="https://a.example/f")
    assert rhythm_in_words(published(*days_ago), feed, NOW).startswith(words)


@pytest.mark.parametrize(("ahead", "verb"), [(2, "next expected by"), (-2, "was expected by")])
def test_it_is_told_when_the_next_episode_is_expected(ahead: int, verb: str) -> None:
    feed = Feed(name="show", url="https://a.example/f", expected_by=NOW + ahead * DAY)
    assert verb in rhythm_in_words(published(*range(4, 60, 7)), feed, NOW)


def test_the_picture_has_gaps_days_without_reading_and_what_is_expected() -> None:
    weekly = published(*(n for n in range(4, 120, 7) if n not in (32, 39, 46)))
    assert [(gap.end - gap.begin).days for gap in gaps(weekly)] == [28]
    feed = Feed(
        name="show", url="https://a.example/f", expected_by=NOW + 3 * DAY, skip_days=0b1100000
    )
    drawn = rhythm.picture(weekly, feed, NOW)
    assert drawn.count('class="gap"') == 1
    assert drawn.count('class="expected"') == 1
    (days,) = re.findall('class="skipped-day" d="([^"]*)"', drawn)
    assert days.count("M") == pytest.approx(2 * WEEKS, abs=2)


@pytest.mark.parametrize("a_day", [1, 4, 24])
@pytest.mark.parametrize(
    "states",
    [[State.READY], [State.HELD], [State.FAILED], list(State)],
    ids=["ready", "held", "failed", "all"],
)
def test_the_picture_stays_small_however_many_episodes_there_are(
    a_day: int, states: list[State]
) -> None:
    times = [NOW - n * DAY / a_day for n in range(26 * 7 * a_day)][::-1]
    many = [Published(at=at, state=states[n % len(states)]) for n, at in enumerate(times)]
    feed = Feed(name="show", url="https://a.example/f", skip_days=0b0111111)
    drawn = rhythm.picture(many, feed, NOW)
    assert len(drawn.encode()) < 8192
    for shape in {rhythm.CLASSES.get(state, "other") for state in states}:
        assert f'class="dot {shape}"' in drawn


def test_a_dot_is_where_its_episode_is_and_what_waits_for_a_person_is_on_top() -> None:
    at = NOW - 7 * DAY
    both = [Published(at=at, state=State.READY), Published(at=at, state=State.HELD)]
    (apart, alone, together) = (
        rhythm.picture(found, Feed(name="show", url="https://a.example/f"), NOW)
        for found in ([both[0], published(30)[0]], both[:1], both)
    )
    dots = re.compile('class="dot done" d="([^"]*)"')
    assert dots.findall(apart)[0].count("M") == 2
    assert dots.findall(alone)[0] in dots.findall(apart)[0]
    assert together.index("dot done") < together.index("#open-dots")
    assert together.count("#open-dots") == 2  # a ring: the path twice, as one shape


@given(st.text(alphabet="ab<&\"'日\u202e\x00\ud800 ", max_size=60), st.integers(1, 80))
@settings(max_examples=100, deadline=None, derandomize=True, database=None)
def test_a_text_is_cut_by_what_it_costs_on_a_page(text: str, most: int) -> None:
    whole, begun = shown(text), cut(text, most)
    assert len(escape(begun.removesuffix("…")).encode()) <= most
    assert begun == whole or (begun.endswith("…") and whole.startswith(begun[:-1]))
    assert begun == whole or len(escape(whole).encode()) > most


def test_a_secret_is_masked_before_a_text_is_cut() -> None:
    masking.know(["canary-0123456789"])
    try:
        assert "canary" not in cut("see canary-0123456789 here", 10)
    finally:
        masking.know([])


@pytest.mark.parametrize("sort", ["", "state", "last", "next", "held", "no such order"])
def test_the_feeds_are_listed_in_every_order(tmp_path: Path, sort: str) -> None:
    with page_site(tmp_path / "a.db", feeds=3) as site:
        site.add(("Held", State.HELD), feed="show-2")
        site.store.feeds.make_due(NOW + DAY, ["show"])
        site.store.feeds.make_due(NOW + 2 * DAY, ["show-1"])
        page = logged_in(site.app()).get("/feeds", query_string={"sort": sort})
        order = list(dict.fromkeys(re.findall(r'href="/feeds/(show[-12]*)"', page.text)))
    first = {"held": "show-2", "next": "show-2"}.get(sort, "show")
    assert order[0] == first
    assert len(order) == 3


def test_a_retry_a_dry_run_and_the_doctor_are_a_click(tmp_path: Path) -> None:
    with page_site(tmp_path / "a.db") as site:
        (failed,) = site.add(("Failed", State.FAILED))
        browser = logged_in(site.app())
        preview = browser.get(f"/episodes/{failed}/retry")
        assert "https://media.example.org/1.mp3" in preview.text, "the address that will be sent"
        form = {"version": field(preview, "version"), "back": "/"}
        assert browser.post(f"/episodes/{failed}/retry", data=form).status_code == 303
        assert site.state(failed) is State.QUEUED
        assert "it is now queued" in browser.get(f"/episodes/{failed}/approve").text
        assert "nothing is fetched here" in browser.post("/feeds/show/dry-run").text
        assert browser.post("/feeds/nobody/dry-run").status_code == 404
        assert "0 s off" in browser.post("/settings/doctor").text


# Texts of other people


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "http://[",
        "https:///a.mp3",
        "ftp://h.example/",
        "https://h/?token=abc",
    ],
)
def test_what_is_no_plain_address_of_the_web_is_shown_and_is_no_link(url: str) -> None:
    assert "<a " not in link(url)


def test_an_address_of_the_web_is_a_link_that_tells_nobody_where_it_was_followed() -> None:
    made = link("https://h.example/?a=1&b=2", "the <audio>")
    assert made == (
        '<a href="https://h.example/?a=1&amp;b=2" rel="noopener noreferrer nofollow">'
        "the &lt;audio&gt;</a>"
    )


def test_what_is_not_there_is_shown_as_nothing_or_a_dash() -> None:
    assert link(None) == finalize(None) == paragraphs(None) == ""
    assert moment(None) == "-"


def test_a_text_keeps_its_lines_and_none_of_its_markup() -> None:
    assert paragraphs("<b>one</b>\ntwo\u202e") == "&lt;b&gt;one&lt;/b&gt;<br>two\\u{202e}"
