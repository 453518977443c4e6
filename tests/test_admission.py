"""What becomes of the items of a document."""

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedwatch.admission import Decision, Verdict, admitted, decide
from feedwatch.identity import comparable, keys_of
from feedwatch.model import FirstRun, Item, Rules, State

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
RULES = Rules()


def item(number: int, **values: object) -> Item:
    plain = Item(
        guid=f"guid-{number}",
        title=f"Episode {number}",
        description="",
        enclosure_url=f"https://m.example/{number}.mp3",
        published_at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number),
    )
    return replace(plain, **values)  # type: ignore[arg-type]


def known(*items: Item) -> dict[str, int]:
    return {key: number for number, keys in enumerate(keys_of(items), 1) for key in keys}


def verdicts(decisions: list[Decision]) -> list[Verdict]:
    return [decision.verdict for decision in decisions]


def first_run(policy: FirstRun, *items: Item) -> list[str | None]:
    """The guids that a new feed would submit."""
    rules = replace(RULES, first_run=policy)
    decisions = decide(items, {}, rules, first_time=True)
    return [one.item.guid for one in decisions if one.verdict is Verdict.SUBMIT]


# Known or new


@pytest.mark.parametrize(
    "again",
    [
        item(1),
        item(1, enclosure_url="https://elsewhere.example/new.mp3"),
        item(1, guid="re-issued"),
        item(1, guid=None),
        item(1, title="Retitled", published_at=None, description="edited"),
        item(1, guid="re-issued", enclosure_url="http://M.example/1.mp3#t=10"),
    ],
    ids=["both", "guid", "enclosure", "enclosure, no guid", "edited", "enclosure, http"],
)
def test_an_item_is_known_by_its_guid_by_its_enclosure_or_by_both(again: Item) -> None:
    (decision,) = decide([again], known(item(1)), RULES, first_time=False)
    assert decision.verdict is Verdict.KNOWN
    assert decision.known_id == 1


def test_an_item_with_another_guid_and_another_enclosure_is_new() -> None:
    decisions = decide([item(2), item(1)], known(item(1)), RULES, first_time=False)
    assert verdicts(decisions) == [Verdict.SUBMIT, Verdict.KNOWN]


def test_one_file_is_submitted_once_however_many_items_carry_it() -> None:
    twins = [item(2, enclosure_url="https://m.example/1.mp3"), item(1)]
    decisions = decide(twins, {}, RULES, first_time=False)
    assert verdicts(decisions) == [Verdict.SUBMIT, Verdict.KNOWN]


def test_a_guid_that_all_items_share_hides_none_of_them() -> None:
    same = [item(number, guid="0") for number in (3, 2, 1)]
    assert verdicts(decide(same, {}, RULES, first_time=False)) == [Verdict.SUBMIT] * 3
    assert verdicts(decide(same, known(*same), RULES, first_time=False)) == [Verdict.KNOWN] * 3


def test_an_item_without_an_enclosure_is_no_episode() -> None:
    (decision,) = decide([item(1, enclosure_url=None)], {}, RULES, first_time=False)
    assert (decision.verdict, decision.keys) == (Verdict.SKIP, ())
    assert admitted(decision, "show", NOW) is None


@given(
    st.lists(
        st.builds(
            item,
            st.integers(0, 5),
            guid=st.none() | st.sampled_from(["a", "b", "c", "x" * 1000]),
            enclosure_url=st.none() | st.sampled_from([f"https://h/{n}.mp3" for n in range(4)]),
        ),
        max_size=8,
    )
)
def test_whatever_was_admitted_is_known_the_next_time(items: list[Item]) -> None:
    first = decide(items, {}, replace(RULES, flood_limit=99), first_time=False)
    keys: dict[str, int] = {}
    for number, decision in enumerate(first):
        if decision.verdict is Verdict.SUBMIT:
            assert not keys.keys() & set(decision.keys), "a key leads to two episodes"
            keys |= dict.fromkeys(decision.keys, number)
    again = decide(items, keys, RULES, first_time=False)
    assert Verdict.SUBMIT not in verdicts(again)


@given(st.text(max_size=3000))
def test_a_key_is_short_enough_for_an_index(guid: str) -> None:
    for keys in keys_of([item(1, guid=guid, enclosure_url=f"https://h/{guid}")]):
        assert all(len(key) < 600 for key in keys)


def test_urls_are_compared_without_scheme_fragment_and_case_of_the_host() -> None:
    assert comparable("https://M.Example/A.mp3?x=1#t") == comparable("http://m.example/A.mp3?x=1")
    assert comparable("https://m.example/a.mp3?x=1") != comparable("https://m.example/a.mp3?x=2")
    assert comparable("https://m.example/a.mp3") != comparable("https://m.example/A.mp3")


# First run


def test_by_default_a_new_feed_submits_nothing_and_keeps_all_as_skipped() -> None:
    decisions = decide([item(2), item(1)], {}, RULES, first_time=True)
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


def test_the_latest_are_chosen_among_what_the_filters_let_through() -> None:
    rules = replace(RULES, first_run=FirstRun(latest=1), episode_types=frozenset({"full"}))
    trailer = item(3, episode_type="trailer")
    decisions = decide([trailer, item(2), item(1)], {}, rules, first_time=True)
    assert verdicts(decisions) == [Verdict.SKIP, Verdict.SUBMIT, Verdict.SKIP]
    assert "trailer" in decisions[0].reason


def test_since_means_from_midnight_utc() -> None:
    policy = FirstRun(since=date(2026, 1, 3))
    undated = item(9, published_at=None)
    assert first_run(policy, undated, item(3), item(2), item(1)) == ["guid-3", "guid-2"]


def test_all_means_all_and_is_no_flood() -> None:
    many = [item(number) for number in range(50)]
    assert len(first_run(FirstRun(everything=True), *many)) == 50


# Flood


def test_more_new_items_than_the_limit_are_all_held() -> None:
    old, new = item(0), [item(number) for number in range(1, 7)]
    decisions = decide([*new, old], known(old), RULES, first_time=False)
    assert verdicts(decisions) == [Verdict.HOLD] * 6 + [Verdict.KNOWN]
    assert "6 new items in one check, the limit is 5" in decisions[0].reason
    assert verdicts(decide(new[:5], known(old), RULES, first_time=False)) == [Verdict.SUBMIT] * 5


def test_what_a_filter_keeps_out_is_no_part_of_a_flood() -> None:
    rules = replace(RULES, exclude_title=re.compile("^Rerun"), flood_limit=1)
    reruns = [item(number, title=f"Rerun {number}") for number in range(9)]
    decisions = decide([item(20), *reruns], {}, rules, first_time=False)
    assert verdicts(decisions) == [Verdict.SUBMIT] + [Verdict.SKIP] * 9


# Filters


@pytest.mark.parametrize(
    ("rules", "values", "reason"),
    [
        ({"episode_types": frozenset({"full"})}, {"episode_type": "bonus"}, "episode type 'bonus'"),
        ({"include_title": re.compile("Part")}, {}, "does not match 'Part'"),
        ({"exclude_title": re.compile("isode")}, {}, "matches 'isode'"),
        ({"min_duration": timedelta(minutes=5)}, {"duration": 299}, "shorter than 0:05:00"),
        ({"max_duration": timedelta(hours=1)}, {"duration": 3601}, "longer than 1:00:00"),
    ],
)
def test_a_filter_says_what_it_did_not_like(
    rules: dict[str, object], values: dict[str, object], reason: str
) -> None:
    strict = replace(RULES, **rules)  # type: ignore[arg-type]
    (decision,) = decide([item(1, **values)], {}, strict, first_time=False)
    assert decision.verdict is Verdict.SKIP
    assert reason in decision.reason


def test_an_item_that_states_no_duration_passes() -> None:
    strict = replace(RULES, min_duration=timedelta(minutes=5), max_duration=timedelta(minutes=6))
    assert verdicts(decide([item(1)], {}, strict, first_time=False)) == [Verdict.SUBMIT]
