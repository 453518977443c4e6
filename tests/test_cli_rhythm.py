"""`rhythm`: when episodes came and when the next one is expected, on a terminal and as JSON."""

import io
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from feedwatch.cli import app
from feedwatch.cli.rhythm import ASCII, LABEL, UNICODE, calendar, coloured, hours, signs_of
from feedwatch.core.episode import State
from feedwatch.core.feed import Feed
from feedwatch.core.rhythm import Published, expectation, rhythm_in_words
from tests.support import FeedServer, Feedwatch, Workspace, item

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)  # a Saturday
DAY = timedelta(days=1)
TUESDAY = datetime(2026, 11, 17, 6, tzinfo=UTC)


def out(*moments: datetime) -> list[Published]:
    return [Published(at=at, state=State.READY) for at in sorted(moments)]


WEEKLY = out(*(TUESDAY - week * 7 * DAY for week in range(52)))
FEED = Feed(name="show", url="https://a.example/f", expected_by=TUESDAY + 14 * DAY)


def test_a_weekly_show_is_one_row_of_signs_and_what_is_expected_follows() -> None:
    drawn = calendar(WEEKLY, FEED, NOW, 60, ASCII)
    assert drawn == [
        "     Jun       Jul     Aug       Sep     Oct     Nov",
        "Mon  . . . . . . . . . . . . . . . . . . . . . . . . . ? ?",
        "Tue  o o o o o o o o o o o o o o o o o o o o o o o o o ? ?",
        "Wed  . . . . . . . . . . . . . . . . . . . . . . . . . ?",
        "Thu  . . . . . . . . . . . . . . . . . . . . . . . . . ?",
        "Fri  . . . . . . . . . . . . . . . . . . . . . . . . . ?",
        "Sat  . . . . . . . . . . . . . . . . . . . . . . . . . ?",
        "Sun  . . . . . . . . . . . . . . . . . . . . . . . . ? ?",
        "                                           this week ^",
    ]


def test_where_few_episodes_show_no_rhythm_nothing_is_expected() -> None:
    back = replace(FEED, expected_by=NOW + 376 * DAY)  # as after a pause of 549 days
    assert (
        rhythm_in_words(out(NOW - DAY), back, NOW) == "no rhythm known yet; last episode 24 h ago"
    )
    assert expectation(out(NOW - DAY), back, NOW) is None
    assert expectation(WEEKLY, FEED, NOW) == FEED.expected_by


@pytest.mark.parametrize("width", [20, 60, 80, 200])
@pytest.mark.parametrize("signs", [ASCII, UNICODE])
@pytest.mark.parametrize("expected_by", [None, NOW - DAY, NOW + DAY, NOW + 99 * DAY])
def test_it_fits_every_width(width: int, signs: object, expected_by: datetime | None) -> None:
    assert isinstance(signs, type(ASCII))
    feed = Feed(name="show", url="https://a.example/f", expected_by=expected_by)
    lines = [*calendar(WEEKLY, feed, NOW, width, signs)]
    assert max(map(len, lines)) <= width
    if width >= 60:
        assert max(map(len, hours(WEEKLY, signs))) <= width
        assert LABEL + len(signs.key) <= 66
    if signs is ASCII:
        assert "".join(lines).isascii()


def test_several_episodes_of_a_day_are_a_number() -> None:
    two = out(TUESDAY, TUESDAY)
    many = out(*[TUESDAY - DAY] * 12)
    drawn = calendar([*many, *two], FEED, NOW, 60, ASCII)
    assert drawn[1].rstrip(" ?").endswith("+")
    assert drawn[2].rstrip(" ?").endswith("2")


def test_an_episode_that_is_dated_ahead_is_drawn_where_it_is_to_come() -> None:
    drawn = calendar(out(NOW + 3 * DAY), FEED, NOW, 60, ASCII)
    assert drawn[2].endswith(". o ?")


def test_the_hours_are_bars_the_highest_where_most_came() -> None:
    six, seven = TUESDAY, TUESDAY.replace(hour=23)
    bars, axis = hours(out(*[six] * 8, seven), UNICODE)
    assert bars == "hour " + " " * 12 + "█" + " " * 33 + "▁"
    assert axis.split() == ["00", "06", "12", "18"]
    assert axis.index("06") == bars.index("█")
    assert hours([], ASCII)[0] == "hour"


@pytest.mark.parametrize(
    ("encoding", "signs"),
    [("utf-8", UNICODE), ("ascii", ASCII), ("latin-1", ASCII), (None, ASCII), ("none", ASCII)],
)
def test_a_terminal_that_cannot_show_a_sign_gets_ascii(encoding: str | None, signs: object) -> None:
    assert signs_of(encoding) is signs


def test_colour_marks_episodes_and_what_is_expected_and_no_label() -> None:
    assert coloured("Tue  o . ?", ASCII) == "Tue  \x1b[32mo\x1b[0m . \x1b[33m?\x1b[0m"
    assert coloured("     Oct Nov", ASCII) == "     Oct Nov"


@pytest.fixture
def weekly(feedwatch: Feedwatch, feed_server: FeedServer, workspace: Workspace) -> Feedwatch:
    """Feed `show` with twenty episodes, one a week, the last one some days ago."""
    last = datetime.now(UTC).replace(microsecond=0) - 3 * DAY
    feed_server.publish(*(item(week, when=last - week * 7 * DAY) for week in range(20)))
    workspace.set(FEEDS__SHOW__FIRST_RUN="none")
    assert feedwatch.once().status == 0
    return feedwatch


def test_it_says_the_rhythm_in_words_draws_it_and_names_the_zone(weekly: Feedwatch) -> None:
    ended = weekly.here("rhythm", "SHOW", env={"COLUMNS": "60"})
    assert (ended.status, ended.stderr) == (0, "")
    first, *lines = ended.stdout.splitlines()
    assert first.startswith("show: weekly, ")
    assert "next expected by" in first
    assert first.endswith("UTC")
    assert sum(line.count("●") for line in lines) == 20 + 1  # and the key's
    assert "░" in ended.stdout
    assert "20 episodes in a year, by the hour UTC" in ended.stdout
    assert max(map(len, lines)) <= 66
    assert "\x1b" not in ended.stdout


def test_where_the_output_is_ascii_so_is_the_picture(weekly: Feedwatch) -> None:
    def main() -> None:
        assert isinstance(sys.stdout, io.TextIOWrapper)
        sys.stdout.reconfigure(encoding="ascii")
        app.main()

    ended = weekly.here("rhythm", "show", main=main)
    assert ended.status == 0
    assert ended.raw.isascii()
    assert ended.stdout.count("o") > 20


def test_json_has_each_episode_the_gaps_and_what_is_expected(weekly: Feedwatch) -> None:
    told = weekly.json("rhythm", "show")
    assert set(told) == {"feed", "expected_by", "silent_since", "gaps", "episodes"}
    assert (told["feed"], told["gaps"], told["silent_since"]) == ("show", [], None)
    assert len(told["episodes"]) == 20
    assert told["episodes"][-1]["state"] == "skipped"
    assert told["expected_by"] > told["episodes"][-1]["published_at"]


def test_a_feed_that_was_never_read_has_no_rhythm_yet_and_an_unknown_one_is_wrong_usage(
    feedwatch: Feedwatch,
) -> None:
    ended = feedwatch.here("rhythm", "show")
    assert ended.status == 0
    assert "no rhythm known yet" in ended.stdout
    assert feedwatch.here("rhythm", "nosuch").status == 2


def test_a_terminal_gets_colour_unless_it_wants_none(weekly: Feedwatch) -> None:
    assert "\x1b[32m●" in weekly.on_terminal("rhythm", "show").stdout
    assert "\x1b[32m" not in weekly.on_terminal("rhythm", "show", env={"NO_COLOR": "1"}).stdout
