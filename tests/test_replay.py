"""Feeds over time, each version with what it should lead to: see docs/replay.md.

What a real series should lead to was counted in the series, by hand and eye, and is written down
here. None of it comes from feedwatch.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Protocol

import pytest

from feedwatch.core.episode import State
from feedwatch.core.settings import FirstRun, OnReplaced, Rules
from tests.feeds_corpus import Corpus
from tests.replay import (
    Outcome,
    RememberingParser,
    Replay,
    Report,
    enclosures,
    replay,
    run,
    table,
    versions,
)
from tests.support import FeedServer, Feedwatch, Workspace, one_in, published, rss
from tests.support import item as plain_item

LIMIT = Rules().flood_limit
NO_LIMIT = 1000


@pytest.fixture(scope="module")
def parser() -> Iterator[RememberingParser]:
    parser = RememberingParser()
    yield parser
    parser.end()


# The series


@dataclass(frozen=True, kw_only=True)
class Series:
    """What a series holds, by the number of the version."""

    versions: int
    first: int  # items in the first one
    new: Mapping[int, int] = field(default_factory=dict)  # truly new episodes
    # Items with a guid that the version before does not have, and that are no new episodes: issued
    # anew, or back from an older version.
    again: Mapping[int, int] = field(default_factory=dict)
    doubtful: Mapping[int, int] = field(default_factory=dict)  # for a person, whatever the limit
    failing: frozenset[int] = frozenset()
    part: tuple[int, int] = (1, 99)  # which versions suffice without the limit
    restarted: tuple[int, int] = (1, 99)  # and with restarts


def each(numbers: Sequence[int], count: int = 1) -> dict[int, int]:
    return dict.fromkeys(numbers, count)


SERIES = {
    "critical-role-anchor-simplecast": Series(
        versions=33,
        first=178,
        new={2: 1, 3: 2, 4: 2, 5: 1, 7: 34, 8: 8, 9: 2, 10: 4, 11: 2, 12: 2, 13: 2, 14: 10, 16: 1}
        | {18: 10, 20: 10, 24: 5, 26: 69, 29: 1, 30: 29, 31: 1, 32: 48},
        # 22: four episodes get new guids on a new host, one of them twice. 25: one gets a new guid
        # and address, and a time of publication that is an hour earlier.
        again={22: 5, 25: 1},
        doubtful={25: 1},
        restarted=(21, 25),
    ),
    "fireside-coder-growth": Series(
        versions=8, first=516, new=each(range(2, 9)), part=(1, 3), restarted=(1, 2)
    ),
    "fireside-selfhosted-polls": Series(
        versions=49, first=126, new={17: 1}, part=(1, 18), restarted=(1, 18)
    ),
    "fireside-twib-fountain": Series(
        versions=35,
        first=61,
        new=each([2, *range(7, 11), 12, 15, 18, 19, *range(21, 28), 30, 31, 33, 34, 35]),
        failing=frozenset({28}),
        part=(24, 33),
        restarted=(26, 31),
    ),
    "geek-sundry-podbean-megaphone": Series(
        versions=30,
        first=206,
        new={8: 13, 9: 7, 10: 2, 11: 4, 12: 4, 13: 2, 14: 10, 16: 12, 17: 1, 18: 3, 19: 1, 20: 24}
        | {21: 2, 22: 22, 23: 1, 24: 1, 25: 8, 26: 1, 27: 18, 28: 2, 29: 6, 30: 1},
        # One episode was published twice, and the next version has it once.
        again={18: 1},
        doubtful={18: 1},
        restarted=(16, 19),
    ),
    "homegrown-hits-fountain": Series(versions=2, first=4, new={2: 9}),
    "nerdist-libsyn-reguid": Series(versions=14, first=206, again={10: 136}, doubtful={10: 136}),
    "pair-areyougarbage-megaphone": Series(versions=2, first=360, new={2: 2}),
    "pair-audiolongread-guardian": Series(versions=2, first=300, new={2: 3}),
    "pair-darknetdiaries-megaphone": Series(versions=2, first=135, new={2: 1}),
    "pair-makingsense-libsyn": Series(versions=2, first=343, new={2: 1}),
    "pair-talkshow-selfhosted": Series(versions=2, first=297),
    "podcasting20-growth": Series(versions=2, first=7, new={2: 30}),
    "tagesschau-100s": Series(
        versions=60,
        first=1,
        new=each([*range(2, 9), *range(10, 61)]),
        again={8: 1},
        part=(1, 20),
        restarted=(1, 12),
    ),
}


# These are for the ordinary run, the others for the longer one.
SHORT = ("homegrown-hits-fountain", "pair-darknetdiaries-megaphone", "podcasting20-growth")


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=[] if one in SHORT else [pytest.mark.long]) for one in SERIES]
)
def test_a_series_leads_to_what_it_should(
    real_feeds: Corpus, parser: RememberingParser, name: str
) -> None:
    series, files = SERIES[name], versions(real_feeds.folder / "series" / name)
    first, last = series.part
    high = Rules(flood_limit=NO_LIMIT)
    for report, limit in (
        (run(files, Rules(), parser), LIMIT),
        (run(files[first - 1 : last], high, parser, copies=[1]), NO_LIMIT),
    ):
        assert_each_version_right(name, report, limit)
        assert_once_and_all(report)


# One of these is issued anew, one fails and one is short; the rest is for the longer run.
RESTARTED = (
    "critical-role-anchor-simplecast",
    "fireside-twib-fountain",
    "geek-sundry-podbean-megaphone",
    "homegrown-hits-fountain",
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [pytest.param(one, marks=[] if one in RESTARTED else [pytest.mark.long]) for one in SERIES],
)
def test_a_series_leads_to_what_it_should_with_restarts_and_older_copies(
    real_feeds: Corpus, parser: RememberingParser, name: str
) -> None:
    first, last = SERIES[name].restarted
    files = versions(real_feeds.folder / "series" / name)[first - 1 : last]
    rules = Rules(flood_limit=NO_LIMIT)
    report = run(files, rules, parser, copies=[2], restarting=True)
    assert_each_version_right(name, report, NO_LIMIT)
    assert_once_and_all(report)


def assert_each_version_right(name: str, report: Report, limit: int) -> None:
    series, at_first = SERIES[name], True
    for version, outcome in report.outcomes.items():
        number = int(version)
        new = 0 if at_first else series.new.get(number, 0)
        doubtful = 0 if at_first else series.doubtful.get(number, 0)
        flood = new > limit
        assert len(outcome.submitted) == (0 if flood else new), outcome
        assert sum(outcome.held.values()) == doubtful + (new if flood else 0), outcome
        assert bool(outcome.error) == (number in series.failing), outcome
        assert outcome.skipped == (outcome.items if at_first else 0), outcome
        at_first = at_first and outcome.error is not None


def assert_once_and_all(report: Report) -> None:
    audio = [url for url, _, _ in report.taken]
    named = [(title, when) for _, title, when in report.taken]
    assert len(set(audio)) == len(audio)
    assert len(set(named)) == len(named)
    assert report.lost == {}
    assert report.unfinished == []
    assert [one for one in report.repeats if not one.quiet] == []


@pytest.mark.parametrize("name", SERIES)
def test_what_a_series_should_lead_to_agrees_with_its_own_account(
    real_feeds: Corpus, name: str
) -> None:
    folder, series = real_feeds.folder / "series" / name, SERIES[name]
    files = versions(folder)
    assert len(files) == series.versions
    assert len(enclosures(files[0])) == series.first
    with (folder / "CHANGES.tsv").open(newline="", encoding="utf-8") as lines:
        rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        added = {int(row["file"][:4]): int(row["added"] or 0) for row in rows}
    stated = {n: series.new.get(n, 0) + series.again.get(n, 0) for n in added}
    assert stated == added


def test_the_collection_has_no_series_that_is_not_replayed(real_feeds: Corpus) -> None:
    assert {path.name for path in (real_feeds.folder / "series").iterdir()} == set(SERIES)


# Feeds made up for it


class Starts(Protocol):
    def __call__(self, rules: Rules = ..., path: Path | None = None) -> Replay: ...


ALL = Rules(first_run=FirstRun(everything=True))
ALL_UNLIMITED = Rules(first_run=FirstRun(everything=True), flood_limit=NO_LIMIT)


@pytest.fixture
def show(tmp_path: Path, feed_server: FeedServer, parser: RememberingParser) -> Iterator[Replay]:
    """A feed whose first document is submitted in whole."""
    with replay(tmp_path / "feedwatch.db", feed_server, parser, ALL) as one:
        yield one


def item(number: int, *, seconds: int | None = None, **values: object) -> str:
    """An episode that says how long it is; its length follows from its number, too."""
    seconds = 1000 + 7 * number if seconds is None else seconds
    more = f"<itunes:duration>{seconds}</itunes:duration>\n" if seconds else ""
    return plain_item(number, more=more, **values)  # type: ignore[arg-type]


def names(numbers: Sequence[int]) -> list[str]:
    return sorted(f"Episode {number}" for number in numbers)


def begun(show: Replay, *items: str) -> None:
    """The first check, which submits all."""
    first = show.show(rss(*items))
    assert len(first.submitted) == len(items)


def assert_once(show: Replay, count: int) -> None:
    assert len(show.sandbox.submissions) == len(show.sandbox.taken) == count
    assert len({body["url"] for body in show.sandbox.taken}) == count


PATHS = {
    "a tracking prefix": "https://dts.podtrac.com/redirect.mp3/media.example.org/show/{n}.mp3",
    "three of them": "https://pdst.fm/e/chrt.fm/track/A1/op3.dev/e/media.example.org/show/{n}.mp3",
    "no TLS": "http://media.example.org/show/{n}.mp3",
    "a volatile parameter": "https://media.example.org/show/{n}.mp3?updated=17{n}",
    "another host": "https://cdn.example.net/a/b/{n}.mp3",
    "another host, other names": "https://cdn.example.net/{n}/{n}e{n}f.mp3?x={n}",
    "both": "https://pdst.fm/e/cdn.example.net/{n}/{n}e{n}f.m4a",
}


@pytest.mark.parametrize("path_and_size", one_in(3, product(PATHS, [3, 8])), ids=str)
def test_audio_that_moves_is_not_submitted_again(
    show: Replay, path_and_size: tuple[str, int]
) -> None:
    path, size = path_and_size
    numbers = range(size, 0, -1)
    begun(show, *(item(n) for n in numbers))
    moved = [item(n, url=PATHS[path].format(n=n)) for n in numbers]
    assert show.show(rss(*moved)).quiet
    longer = [item(n, url=PATHS[path].format(n=n), seconds=1060 + 7 * n) for n in numbers]
    assert show.show(rss(*longer)).quiet
    after = show.show(rss(item(size + 1, url=PATHS[path].format(n=size + 1)), *moved))
    assert list(after.submitted) == names([size + 1])
    assert show.show(rss(*(item(n) for n in numbers))).quiet, "and back"
    assert_once(show, size + 1)


@pytest.mark.parametrize(
    "case", one_in(3, product([2, 5, 40], [0, 10], [LIMIT, NO_LIMIT])), ids=str
)
def test_a_feed_issued_anew_is_held(
    tmp_path: Path,
    feed_server: FeedServer,
    parser: RememberingParser,
    case: tuple[int, int, int],
) -> None:
    """So many items, whose audio is longer by so many seconds, with this limit."""
    size, seconds, limit = case
    rules = Rules(first_run=FirstRun(everything=True), flood_limit=limit)
    numbers = range(size, 0, -1)
    anew = [
        item(
            n,
            guid=f"anew-{n}",
            url=f"https://cdn.example.net/anew/{n}-{n}.mp3",
            when=published(n + 500),
            seconds=1000 + 7 * n + seconds,
        )
        for n in numbers
    ]
    with replay(tmp_path / "feedwatch.db", feed_server, parser, rules) as show:
        begun(show, *(item(n) for n in numbers))
        outcome = show.show(rss(*anew))
        assert (outcome.submitted, sum(outcome.held.values())) == ((), size)
        assert show.show(rss(*anew)).quiet
        show.restart()
        assert show.show(rss(*(item(n) for n in numbers))).quiet
        assert show.show(rss(*anew)).quiet
        assert_once(show, size)


@pytest.mark.parametrize("window_and_copies", one_in(3, product([1, 2, 3, 10], [0, 1])), ids=str)
def test_a_rolling_window_loses_none(show: Replay, window_and_copies: tuple[int, int]) -> None:
    window, copies = window_and_copies  # older copies in between, or none
    documents = [rss(*(item(n) for n in range(k, k - window, -1))) for k in range(10, 22)]
    begun(show, *(item(n) for n in range(10, 10 - window, -1)))
    for place, document in enumerate(documents[1:], 1):
        assert list(show.show(document).submitted) == names([10 + place])
        if copies:
            assert show.show(documents[max(0, place - 3)]).quiet
    assert_once(show, window + 11)


RHYTHMS = (timedelta(hours=5, minutes=7), timedelta(hours=1))


@pytest.mark.parametrize("window_and_rhythm", one_in(3, product([1, 2, 3, 10], RHYTHMS)), ids=str)
def test_a_rolling_window_of_items_with_one_title_loses_none(
    show: Replay, window_and_rhythm: tuple[int, timedelta]
) -> None:
    window, every = window_and_rhythm

    def document(newest: int) -> bytes:
        return rss(
            *(
                item(n, title="The news", when=published(1) + n * every, seconds=120)
                for n in range(newest, newest - window, -1)
            )
        )

    assert len(show.show(document(20)).submitted) == window
    for newest in range(21, 30):
        assert len(show.show(document(newest)).submitted) == 1


def test_a_guid_used_for_another_episode_is_for_a_person(show: Replay) -> None:
    begun(show, item(3), item(2), item(1))
    reused = [item(4, guid="guid-3"), item(2), item(1)]
    outcome = show.show(rss(*reused))
    assert (outcome.submitted, sum(outcome.held.values())) == ((), 1)
    assert show.show(rss(*reused)).quiet
    assert show.show(rss(item(3), item(2), item(1))).quiet
    assert_once(show, 3)


def test_a_guid_that_all_items_share_is_none(show: Replay) -> None:
    begun(show, item(2, guid="0"), item(1, guid="0"))
    after = show.show(rss(item(3, guid="0"), item(2, guid="0"), item(1, guid="0")))
    assert list(after.submitted) == names([3])


@pytest.mark.parametrize(
    ("policy", "submitted", "held"),
    [(OnReplaced.IGNORE, 0, 0), (OnReplaced.HOLD, 0, 1), (OnReplaced.SUBMIT, 1, 0)],
)
def test_replaced_audio_goes_by_the_policy(
    tmp_path: Path,
    feed_server: FeedServer,
    parser: RememberingParser,
    policy: OnReplaced,
    submitted: int,
    held: int,
) -> None:
    rules = Rules(first_run=FirstRun(everything=True), on_replaced=policy)
    other = item(3, url="https://media.example.org/show/corrected.mp3", seconds=4000)
    with replay(tmp_path / "feedwatch.db", feed_server, parser, rules) as show:
        begun(show, item(3), item(2), item(1))
        outcome = show.show(rss(other, item(2), item(1)))
        assert (len(outcome.submitted), sum(outcome.held.values())) == (submitted, held)
        for document in (rss(item(3), item(2), item(1)), rss(other, item(2), item(1))):
            assert show.show(document).quiet
        assert_once(show, 3 + submitted)


@pytest.mark.parametrize("policy", list(OnReplaced))
@pytest.mark.parametrize("moving", one_in(2, [6, 10]))
def test_other_advertisements_are_no_other_episode(
    tmp_path: Path,
    feed_server: FeedServer,
    parser: RememberingParser,
    policy: OnReplaced,
    moving: int,
) -> None:
    """The audio of most old episodes is rendered anew: a new file, and a minute longer."""
    rules = Rules(first_run=FirstRun(everything=True), on_replaced=policy)
    with replay(tmp_path / "feedwatch.db", feed_server, parser, rules) as show:
        begun(show, *(item(n) for n in range(10, 0, -1)))
        anew = [
            item(n, url=f"https://media.example.org/show/r{n}x.mp3", seconds=1060 + 7 * n)
            if n <= moving
            else item(n)
            for n in range(10, 0, -1)
        ]
        assert show.show(rss(*anew)).quiet


@pytest.mark.parametrize("size", one_in(3, [5, 2, 10]))
@pytest.mark.parametrize("before", ["issued anew", "titles edited"])
def test_a_feed_that_has_changed_is_issued_anew(show: Replay, size: int, before: str) -> None:
    numbers = range(size, 0, -1)

    def issued(name: str, days: int, title: str) -> bytes:
        return rss(
            *(
                item(
                    n,
                    title=f"{title} {n}",
                    guid=f"{name}-{n}",
                    url=f"https://cdn.example.net/{name}/{n}-{name}.mp3",
                    when=published(n + days),
                )
                for n in numbers
            )
        )

    begun(show, *(item(n) for n in numbers))
    if before == "issued anew":
        assert show.show(issued("first", 100, "Episode")).submitted == ()
        assert show.show(issued("second", 200, "Episode")).submitted == ()
    else:
        assert show.show(rss(*(item(n, title=f"Edited {n}") for n in numbers))).quiet
        assert show.show(issued("first", 100, "Edited")).submitted == ()


@pytest.mark.parametrize("corrected", [{}, {"seconds": 3000}])
def test_an_episode_given_another_guid_and_an_hour_less(
    show: Replay, corrected: dict[str, int]
) -> None:
    """As one does in version 25 of the first series; in 23 its duration was corrected."""
    rest = [item(n) for n in range(9, 0, -1)]
    begun(show, item(10), *rest)
    assert show.show(rss(item(10, **corrected), *rest) + b"\n").quiet
    anew = item(
        10,
        guid="anew",
        url="https://media.example.org/show/anew.mp3",
        when=published(10) - timedelta(hours=1),
        **corrected,
    )
    assert show.show(rss(anew, *rest)).submitted == ()


@pytest.mark.parametrize(
    "later", [timedelta(), timedelta(days=1)], ids=["title edited", "date, too"]
)
def test_a_new_key_is_enough_once_it_was_seen_on_a_known_episode(
    show: Replay, later: timedelta
) -> None:
    rest = [item(n) for n in range(7, 0, -1)]
    moved = "https://cdn.example.net/moved.mp3"
    when = published(8) + later
    begun(show, item(8), *rest)
    for changed in (
        item(8, guid="second"),
        item(8, guid="second", title="Edited", when=when),
        item(8, guid="second", title="Edited", when=when, url=moved),
        item(8, guid="third", title="Edited", when=when, url=moved),
        item(8, guid="third", title="Edited", when=when, url=f"{moved}?again"),
    ):
        assert show.show(rss(changed, *rest)).quiet
        show.restart()
    assert_once(show, 8)


def test_episodes_given_other_guids_on_a_new_host_are_known(show: Replay) -> None:
    """As four are in version 22 of the first series, one of them under two guids at once."""
    rest = [item(n, url=f"https://cdn.example.net/{n}") for n in range(8, 0, -1)]
    begun(show, *(item(n) for n in range(10, 0, -1)))
    anew = [item(n, guid=f"anew-{n}", url=f"https://cdn.example.net/anew/{n}") for n in (10, 9)]
    again = item(9, guid="again", url="https://cdn.example.net/again/9")
    assert show.show(rss(*anew, again, *rest)).quiet
    assert show.show(rss(*anew, *rest)).quiet
    assert_once(show, 10)


def test_a_new_episode_with_the_title_of_a_held_one_is_not_lost(show: Replay) -> None:
    def news(*numbers: int) -> list[str]:
        return [item(n, title="The news", seconds=900) for n in numbers]

    begun(show, item(1), item(2))
    flood = show.show(rss(*news(15, 14, 13, 12, 11, 10), item(2)))
    assert sum(flood.held.values()) == 6
    assert show.show(rss(*news(16, 15, 14, 13, 12, 11), item(2))).new == 1


def test_a_feed_issued_anew_with_held_episodes_and_an_edited_title(show: Replay) -> None:
    titles = {n: f"Episode {n}" for n in range(9, 0, -1)}
    begun(show, item(3), item(2), item(1))
    titles[1] = "Edited"
    assert show.show(rss(item(3), item(2), item(1, title="Edited"))).quiet
    everything = rss(*(item(n, title=title) for n, title in titles.items()))
    assert sum(show.show(everything).held.values()) == 6
    anew = [
        item(
            n,
            guid=f"anew-{n}",
            url=f"https://cdn.example.net/anew/{n}-anew.mp3",
            when=published(n + 240),
            seconds=1000 + 7 * n,
            title=title,
        )
        for n, title in titles.items()
    ]
    assert show.show(rss(*anew)).submitted == ()


def test_what_vanishes_and_returns_is_known(show: Replay) -> None:
    begun(show, *(item(n) for n in range(8, 0, -1)))
    for missing in range(1, 9):
        rest = [item(n) for n in range(8, 0, -1) if n != missing]
        assert show.show(rss(*rest)).quiet
    assert show.show(rss(*(item(n) for n in range(4, 0, -1)))).quiet
    assert show.show(rss(item(1))).quiet
    assert show.show(rss(*(item(n) for n in range(8, 0, -1)))).quiet
    assert_once(show, 8)


def test_an_older_copy_changes_nothing_and_hides_nothing(show: Replay) -> None:
    begun(show, *(item(n) for n in range(10, 0, -1)))
    for newest in range(11, 18):
        fresh = rss(*(item(n) for n in range(newest, newest - 10, -1)))
        assert list(show.show(fresh).submitted) == names([newest])
        for older in (newest - 1, 10):
            stale = rss(*(item(n) for n in range(older, older - 10, -1)))
            assert show.show(stale).quiet
        assert show.show(fresh).quiet
    assert_once(show, 17)


BROKEN = {
    "error page": b"<!DOCTYPE html><html><head><title>Down</title></head><body>503</body></html>",
    "plain text": b"error code: 1022",
    "empty feed": rss(),
    "no bytes": b"",
    "cut in an item": rss(item(9), item(8), item(7))[:700],
    "cut after an item": rss(item(9), item(8), item(7)).partition(b"</channel>")[0],
    "S3 error": b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
}


@pytest.mark.parametrize("broken", one_in(2, BROKEN))
def test_a_document_that_is_no_feed_changes_nothing(show: Replay, broken: str) -> None:
    good = rss(*(item(n) for n in range(7, 0, -1)))
    begun(show, *(item(n) for n in range(7, 0, -1)))
    before = show.feed
    for _ in range(3):
        bad = show.show(BROKEN[broken])
        assert bad.error, bad
        assert bad.quiet
        after = show.feed
        assert (
            after.etag,
            after.last_modified,
            after.last_full_fetch_at,
            after.baseline_at,
            after.item_count,
        ) == (
            *(
                before.etag,
                before.last_modified,
                before.last_full_fetch_at,
                before.baseline_at,
                before.item_count,
            ),
        )
    assert show.show(good).quiet
    assert show.feed.error is None
    later = show.show(rss(item(8), *(item(n) for n in range(7, 0, -1))))
    assert list(later.submitted) == names([8])
    assert_once(show, 8)


@pytest.mark.parametrize("broken", BROKEN)
def test_a_document_that_is_no_feed_is_no_first_run(
    tmp_path: Path, feed_server: FeedServer, parser: RememberingParser, broken: str
) -> None:
    if broken == "empty feed":
        pytest.skip("a show that has not begun: what comes next is new")
    with replay(tmp_path / "feedwatch.db", feed_server, parser, Rules()) as show:
        assert show.show(BROKEN[broken]).error
        first = show.show(rss(item(2), item(1)))
        assert (first.submitted, first.skipped) == ((), 2)
        # The broken document was looked at after what it had was published.
        assert list(show.show(rss(item(30), item(2), item(1))).submitted) == names([30])


def test_a_feed_at_another_address_keeps_its_memory(
    tmp_path: Path, feed_server: FeedServer, parser: RememberingParser
) -> None:
    items = [item(n) for n in range(7, 0, -1)]
    with replay(tmp_path / "feedwatch.db", feed_server, parser, Rules()) as show:
        assert show.show(rss(*items)).skipped == 7
        show.sources = [show.source("show", "/moved.xml")]
        show.restart()
        for newest in (8, 9):
            items.insert(0, item(newest))
            show.feeds.serve(rss(*items), path="/moved.xml")
            show.later(days=1)  # the new one is dated a day later
            show.check()
            show.settle()
            assert_once(show, newest - 7)
        assert show.feeds.count("/moved.xml") == 2


@pytest.mark.parametrize("order", one_in(2, [-1, 1]), ids=["newest first", "oldest first"])
@pytest.mark.parametrize(
    ("policy", "wanted"),
    [
        (FirstRun(), []),
        (FirstRun(latest=1), [9]),
        (FirstRun(latest=3), [7, 8, 9]),
        (FirstRun(since=(published(6)).date()), [6, 7, 8, 9]),
        (FirstRun(since=date(2030, 1, 1)), []),
        (FirstRun(everything=True), list(range(10))),
    ],
    ids=["none", "latest:1", "latest:3", "since", "since the future", "all"],
)
def test_a_first_run_goes_by_the_policy(
    tmp_path: Path,
    feed_server: FeedServer,
    parser: RememberingParser,
    policy: FirstRun,
    wanted: list[int],
    order: int,
) -> None:
    numbers = list(range(10))[::order]
    document = rss(*(item(n) for n in numbers))
    with replay(tmp_path / "feedwatch.db", feed_server, parser, Rules(first_run=policy)) as show:
        first = show.show(document)
        assert sorted(first.submitted) == names(wanted)
        assert first.skipped == 10 - len(wanted)
        show.restart()
        assert show.show(document + b"\n").quiet
        assert list(show.show(rss(item(10), *(item(n) for n in numbers))).submitted) == names([10])
        assert_once(show, len(wanted) + 1)


@pytest.mark.parametrize(("verb", "count"), [("approve", 8), ("skip", 0)])
def test_a_flood_is_settled_by_one_command(
    workspace: Workspace, feedwatch: Feedwatch, parser: RememberingParser, verb: str, count: int
) -> None:
    with FeedServer() as feeds, replay(workspace.database, feeds, parser, ALL) as show:
        workspace.add_feed("show", feeds.url)
        begun(show, *(item(n) for n in range(5, 0, -1)))
        flood = rss(*(item(n) for n in range(13, 0, -1)))
        outcome = show.show(flood)
        assert (outcome.submitted, sum(outcome.held.values())) == ((), 8)
        said = feedwatch.here(verb, "--feed", "show", "--yes")
        assert said.status == 0, said.output
        show.later(hours=48)  # the command goes by the clock of this machine
        show.now = max(show.now, datetime.now(show.now.tzinfo) + timedelta(minutes=1))
        show.settle()
        assert_once(show, 5 + count)
        assert show.show(flood + b"\n").quiet
        assert list(show.show(rss(item(14), *(item(n) for n in range(13, 0, -1)))).submitted) == (
            names([14])
        )
        assert_once(show, 6 + count)
        assert {one.state for one in show.store.episodes.find()} <= {State.READY, State.SKIPPED}


def test_a_table_tells_what_each_version_led_to() -> None:
    outcomes = [
        Outcome(version="0001", items=3, new=3, skipped=3),
        Outcome(version="0002", items=4, new=1, submitted=("a",)),
        Outcome(version="0003", items=5, new=1, submitted=("b",)),
        Outcome(version="0004", items=0, new=0, error="no feed"),
        Outcome(version="0005", items=7, new=2, held={"flood": 2}),
    ]
    assert list(table(outcomes, brief=True))[2:] == [
        "| 0001 | 3 | 0 | - | - | - |",
        "| 0002 to 0003 | 4 to 5 | 3 to 4 | 1 each | - | - |",
        "| 0004 | 0 | 0 | - | - | yes |",
        "| 0005 | 7 | 5 | - | 2 flood | - |",
    ]
    assert len(list(table(outcomes, brief=False))) == 2 + 5
