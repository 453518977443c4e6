"""What becomes of the items of a document: first run, floods, filters."""

import time
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from feedwatch.config.title_pattern import TITLE_SECONDS, TitlePattern
from feedwatch.core.admission import UNDECIDED_AT_MOST, Verdict, admitted
from feedwatch.core.episode import State
from feedwatch.core.feed import Item
from feedwatch.core.settings import FirstRun, OnReplaced, Rules
from tests import shows
from tests.shows import Memory, item, verdicts

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
RULES = Rules()


def first_run(policy: FirstRun, *items: Item) -> list[str | None]:
    """The guids that a new feed would submit."""
    memory = Memory(replace(RULES, first_run=policy), begun=False)
    return [one.item.guid for one in memory.look(*items) if one.verdict is Verdict.SUBMIT]


# First run


def test_by_default_a_new_feed_submits_nothing_and_keeps_all_as_skipped() -> None:
    decisions = Memory(RULES, begun=False).look(item(2), item(1))
    assert verdicts(decisions) == [Verdict.SKIP, Verdict.SKIP]
    episodes = [admitted(decision, "show", NOW) for decision in decisions]
    assert [episode.state for episode in episodes if episode] == [State.SKIPPED] * 2
    assert all("first run" in (episode.reason or "") for episode in episodes if episode)


def test_the_latest_are_those_with_the_latest_dates_wherever_they_stand() -> None:
    oldest_first = [item(1), item(2), item(3)]
    assert first_run(FirstRun(latest=1), *oldest_first) == ["guid-3"]
    assert first_run(FirstRun(latest=2), item(2), item(3), item(1)) == ["guid-2", "guid-3"]


def test_the_feeds_order_decides_between_equal_dates() -> None:
    same_day = [item(number, published_at=NOW) for number in (7, 8, 9)]
    assert first_run(FirstRun(latest=1), *same_day) == ["guid-7"]


def test_an_item_without_a_date_is_not_the_latest_while_others_have_one() -> None:
    assert first_run(FirstRun(latest=1), item(2, published_at=None), item(1)) == ["guid-1"]


@pytest.mark.parametrize("days", [1.01, 2, 20, 29, 31, 4000])
def test_a_date_ahead_is_not_the_latest(days: float) -> None:
    pinned = item(9, published_at=shows.NOW + timedelta(days=days))
    assert first_run(FirstRun(latest=1), pinned, item(2), item(1)) == ["guid-2"]
    assert first_run(FirstRun(latest=3), pinned, item(2), item(1)) == ["guid-9", "guid-2", "guid-1"]


def test_a_publishers_clock_or_time_zone_may_be_off_by_a_day() -> None:
    hasty = item(9, published_at=shows.NOW + timedelta(hours=23))
    assert first_run(FirstRun(latest=1), hasty, item(2)) == ["guid-9"]


def test_a_date_too_far_ahead_is_not_since_anything() -> None:
    since = FirstRun(since=date(2026, 1, 3))
    soon, never = (item(n, published_at=shows.NOW + timedelta(days=n)) for n in (29, 31))
    assert first_run(since, never, soon, item(2), item(1)) == ["guid-29", "guid-2"]


def test_the_latest_are_chosen_among_what_the_filters_let_through() -> None:
    rules = replace(RULES, first_run=FirstRun(latest=1), episode_types=frozenset({"full"}))
    trailer = item(3, episode_type="trailer")
    decisions = Memory(rules, begun=False).look(trailer, item(2), item(1))
    assert verdicts(decisions) == [Verdict.SKIP, Verdict.SUBMIT, Verdict.SKIP]
    assert "trailer" in decisions[0].reason


def test_since_means_from_midnight_utc() -> None:
    policy = FirstRun(since=date(2026, 1, 3))
    undated = item(9, published_at=None)
    assert first_run(policy, undated, item(3), item(2), item(1)) == ["guid-3", "guid-2"]


def test_all_means_all_and_is_no_flood() -> None:
    many = [item(number) for number in range(50)]
    assert len(first_run(FirstRun(everything=True), *many)) == 50


# Floods


def test_more_new_items_than_the_limit_are_all_held() -> None:
    memory = Memory(RULES)
    memory.take(item(0))
    new = [item(number) for number in range(1, 7)]
    decisions = memory.look(*new, item(0))
    assert verdicts(decisions) == [Verdict.HOLD] * 6 + [Verdict.KNOWN]
    assert "6 new items in one check, the limit is 5" in decisions[0].reason
    assert verdicts(memory.look(*new[:5], item(0)))[:5] == [Verdict.SUBMIT] * 5


def test_what_a_filter_keeps_out_is_no_part_of_a_flood() -> None:
    rules = replace(RULES, exclude_title=TitlePattern("^Rerun"), flood_limit=1)
    reruns = [item(number, title=f"Rerun {number}") for number in range(9)]
    decisions = Memory(rules).look(item(20), *reruns)
    assert verdicts(decisions) == [Verdict.SUBMIT] + [Verdict.SKIP] * 9


CATASTROPHE = "^(a|aa)+$"  # takes Python's `re` years for what is below
ON_WHICH = "a" * 60 + "!"


@pytest.mark.parametrize("filters", ["include_title", "exclude_title"])
def test_a_title_on_which_a_pattern_takes_too_long_is_held(filters: str) -> None:
    rules = replace(RULES, **{filters: TitlePattern(CATASTROPHE)})  # type: ignore[arg-type]
    (held,) = Memory(rules).look(item(1, title=ON_WHICH))
    assert held.verdict is Verdict.HOLD
    assert "takes too long to tell" in held.reason


def test_after_several_such_titles_no_other_one_of_the_document_is_tried() -> None:
    rules = replace(RULES, exclude_title=TitlePattern(CATASTROPHE))
    begun = time.process_time()
    decisions = Memory(rules).look(*(item(n, title=f"{ON_WHICH} {n}") for n in range(500)))
    assert time.process_time() - begun < 10 * UNDECIDED_AT_MOST * TITLE_SECONDS
    assert verdicts(decisions) == [Verdict.HOLD] * 500


def test_new_items_are_held_when_most_known_ones_have_vanished() -> None:
    memory = Memory(RULES)
    memory.feed = replace(memory.feed, baseline_at=None)
    memory.take(*(item(number) for number in range(20)))
    decisions = memory.look(item(100), item(101), *(item(number) for number in range(9)))
    assert verdicts(decisions)[:2] == [Verdict.HOLD] * 2
    assert "9 of 20 left, beside 2 new items" in decisions[0].reason
    half = memory.look(item(100), *(item(number) for number in range(10)))
    assert half[0].verdict is Verdict.SUBMIT, "half of them is not most of them"


def test_known_items_that_vanish_alone_alarm_nobody() -> None:
    memory = Memory()
    memory.take(*(item(number) for number in range(20)))
    assert verdicts(memory.take(item(1))) == [Verdict.KNOWN]
    assert verdicts(memory.take(item(30), item(1))) == [Verdict.SUBMIT, Verdict.KNOWN]


def test_a_window_that_rolls_slowly_loses_nothing() -> None:
    memory = Memory(RULES)
    memory.take(item(0))
    submitted = 0
    for number in range(1, 200):
        window = [item(one) for one in range(number, max(number - 10, -1), -1)]
        submitted += verdicts(memory.take(*window)).count(Verdict.SUBMIT)
    assert submitted == 199


def test_what_was_published_before_our_memory_begins_is_held_and_the_rest_is_not() -> None:
    memory = Memory(RULES)
    memory.take(item(1))
    memory.feed = replace(memory.feed, hold_if_published_before=item(3).published_at)
    decisions = memory.take(item(4), item(3), item(2, published_at=None), item(1))
    assert verdicts(decisions) == [Verdict.SUBMIT, Verdict.HOLD, Verdict.HOLD, Verdict.KNOWN]
    assert "may have been submitted already" in decisions[1].reason
    stale = memory.take(item(1))
    assert verdicts(stale) == [Verdict.KNOWN]
    assert verdicts(memory.take(item(0), item(1))) == [Verdict.HOLD, Verdict.KNOWN]


def test_a_new_database_where_there_was_one_holds_what_the_first_run_would_submit() -> None:
    rules = replace(RULES, first_run=FirstRun(latest=1))
    memory = Memory(rules, begun=False)
    memory.feed = replace(memory.feed, hold_if_published_before=NOW)
    assert verdicts(memory.look(item(2), item(1))) == [Verdict.HOLD, Verdict.SKIP]


def test_in_a_small_feed_new_items_are_held_when_all_known_ones_have_vanished() -> None:
    memory = Memory(RULES)
    memory.take(item(1), item(2))
    assert verdicts(memory.look(item(8), item(9))) == [Verdict.HOLD] * 2


# Replaced audio: the policy


@pytest.mark.parametrize(
    ("policy", "verdict"),
    [
        (OnReplaced.IGNORE, Verdict.KNOWN),
        (OnReplaced.HOLD, Verdict.HOLD),
        (OnReplaced.SUBMIT, Verdict.SUBMIT),
    ],
)
def test_replaced_audio_is_ignored_held_or_submitted_and_settled_by_that(
    policy: OnReplaced, verdict: Verdict
) -> None:
    memory = Memory(replace(RULES, on_replaced=policy))
    memory.take(item(1), item(2))
    other = item(1, enclosure_url="https://m.example/1-corrected.mp3", duration=500)
    assert verdicts(memory.take(other, item(2))) == [verdict, Verdict.KNOWN]
    for again in (other, item(1), other):
        assert verdicts(memory.take(again, item(2))) == [Verdict.KNOWN] * 2


@pytest.mark.parametrize("policy", list(OnReplaced))
def test_audio_that_is_replaced_at_every_check_is_paid_for_once_at_most(policy: OnReplaced) -> None:
    memory = Memory(replace(RULES, on_replaced=policy))
    memory.take(item(1), item(2))
    told = []
    for number in range(9):
        rotated = item(1, enclosure_url=f"https://m.example/{number}-x.mp3", duration=None)
        told += verdicts(memory.take(rotated, item(2)))[:1]
    assert told.count(Verdict.SUBMIT) == (policy is OnReplaced.SUBMIT)
    assert told.count(Verdict.HOLD) <= 1, "and is held once, not every time"


# Filters


@pytest.mark.parametrize(
    ("rules", "values", "reason"),
    [
        ({"episode_types": frozenset({"full"})}, {"episode_type": "bonus"}, "episode type 'bonus'"),
        ({"include_title": TitlePattern("Part")}, {}, "does not match 'Part'"),
        ({"exclude_title": TitlePattern("isode")}, {}, "matches 'isode'"),
        ({"min_duration": timedelta(minutes=5)}, {"duration": 299}, "shorter than 0:05:00"),
        ({"max_duration": timedelta(hours=1)}, {"duration": 3601}, "longer than 1:00:00"),
    ],
)
def test_a_filter_says_what_it_did_not_like(
    rules: dict[str, object], values: dict[str, object], reason: str
) -> None:
    memory = Memory(replace(RULES, **rules))  # type: ignore[arg-type]
    (decision,) = memory.look(item(1, **values))
    assert decision.verdict is Verdict.SKIP
    assert reason in decision.reason


def test_an_item_that_states_no_duration_passes() -> None:
    strict = replace(RULES, min_duration=timedelta(minutes=5), max_duration=timedelta(minutes=6))
    assert verdicts(Memory(strict).look(item(1, duration=None))) == [Verdict.SUBMIT]


def test_an_item_without_an_enclosure_is_no_episode() -> None:
    (decision,) = Memory().look(item(1, enclosure_url=None))
    assert decision.verdict is Verdict.SKIP
    assert not decision.is_episode
    assert admitted(decision, "show", NOW) is None
