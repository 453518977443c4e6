"""The rules of docs/identity.md, one by one."""

import itertools
import re
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedwatch.core.admission import Verdict
from feedwatch.core.feed import Item
from feedwatch.core.identity import comparable, keys_of
from feedwatch.core.match_items import MatchKind
from feedwatch.core.settings import FirstRun, OnReplaced, Rules
from feedwatch.core.tracking_prefixes import PREFIXES
from tests.shows import Memory, item, verdicts

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
POLICIES = {
    OnReplaced.HOLD: Verdict.HOLD,
    OnReplaced.SUBMIT: Verdict.SUBMIT,
    OnReplaced.IGNORE: Verdict.KNOWN,
}
OTHER = "https://elsewhere.example/other.mp3"
MOVED = "https://new-host.example/x/y/5.mp3"
LATER = item(9).published_at


def remembering(*items: Item) -> Memory:
    memory = Memory()
    memory.take(*items)
    return memory


def kind(memory: Memory, *items: Item) -> MatchKind:
    """What the first of the items is."""
    return memory.look(*items)[0].match.kind


SHOW = [item(number) for number in (5, 4, 3, 2, 1)]

# One item changed in a feed of five: what it is.
RULES: dict[str, tuple[Item, MatchKind]] = {
    "same guid, same audio": (item(5, title="Edited", published_at=None), MatchKind.KNOWN),
    "same audio, no guid": (item(5, guid=None), MatchKind.KNOWN),
    "same audio, other guid": (item(5, guid="other"), MatchKind.KNOWN),
    "same audio, other guid and title": (item(5, guid="other", title="Rerun"), MatchKind.DOUBTFUL),
    "same audio, other guid, later": (
        item(5, guid="other", published_at=item(9).published_at),
        MatchKind.DOUBTFUL,
    ),
    "same audio, no guid, other title": (item(5, guid=None, title="Edited"), MatchKind.KNOWN),
    "same audio, no guid, later": (item(5, guid=None, published_at=LATER), MatchKind.KNOWN),
    "same audio, no guid, other title, later, as long": (
        item(5, guid=None, title="Edited", published_at=LATER),
        MatchKind.DOUBTFUL,
    ),
    "same audio, no guid, other title, later": (
        item(5, guid=None, title="Edited", published_at=LATER, duration=None),
        MatchKind.REPLACED,
    ),
    "same audio, other guid, other title, later, as long": (
        item(5, guid="other", title="Rerun", published_at=LATER),
        MatchKind.DOUBTFUL,
    ),
    "same audio, other guid, other title, later": (
        item(5, guid="other", title="Rerun", published_at=LATER, duration=1200),
        MatchKind.REPLACED,
    ),
    "same guid, file at another address": (
        item(5, enclosure_url="https://new-host.example/x/y/5.mp3"),
        MatchKind.KNOWN,
    ),
    "same guid, file at another address, other ads": (
        item(5, enclosure_url=MOVED, duration=1100),
        MatchKind.KNOWN,
    ),
    "same guid, file at another address, not as long": (
        item(5, enclosure_url=MOVED, duration=1200),
        MatchKind.REPLACED,
    ),
    "same guid, file at another address, later": (
        item(5, enclosure_url=MOVED, published_at=LATER),
        MatchKind.REPLACED,
    ),
    "same guid, file with a generic name": (
        item(5, enclosure_url="https://m.example/new/audio.mp3", duration=None),
        MatchKind.REPLACED,
    ),
    "same guid, other file, just as long": (item(5, enclosure_url=OTHER), MatchKind.KNOWN),
    "same guid, other file, just as long, later": (
        item(5, enclosure_url=OTHER, published_at=LATER),
        MatchKind.REPLACED,
    ),
    "same guid, other file, not as long": (
        item(5, enclosure_url=OTHER, duration=99),
        MatchKind.REPLACED,
    ),
    "same guid, other file, no duration": (
        item(5, enclosure_url=OTHER, duration=None),
        MatchKind.REPLACED,
    ),
    "same guid, other file and title, later": (
        item(5, enclosure_url=OTHER, title="Another", published_at=item(9).published_at),
        MatchKind.DOUBTFUL,
    ),
    "same title and date, just as long": (
        item(5, guid="other", enclosure_url=OTHER),
        MatchKind.KNOWN,
    ),
    "same title and date, no duration": (
        item(5, guid="other", enclosure_url=OTHER, duration=None),
        MatchKind.REPLACED,
    ),
    "same title and date, other ads": (
        item(5, guid="other", enclosure_url=OTHER, duration=1075),
        MatchKind.REPLACED,
    ),
    "same title and date, another length": (
        item(5, guid="other", enclosure_url=OTHER, duration=3000),
        MatchKind.DOUBTFUL,
    ),
    "same title, another time zone": (
        item(5, guid="other", enclosure_url=OTHER, published_at=item(5).published_at + HOUR),  # type: ignore[operator]
        MatchKind.DOUBTFUL,
    ),
    "same title only": (
        item(5, guid="other", enclosure_url=OTHER, published_at=item(30).published_at),
        MatchKind.DOUBTFUL,
    ),
    "same title only, another length": (
        item(5, guid="o", enclosure_url=OTHER, published_at=item(30).published_at, duration=9),
        MatchKind.NEW,
    ),
    "same date only, to the second": (
        item(5, guid="other", enclosure_url=OTHER, title="A typo mended"),
        MatchKind.DOUBTFUL,
    ),
    "nothing the same": (item(6), MatchKind.NEW),
    "no enclosure": (item(5, enclosure_url=None), MatchKind.NOTHING),
}


@pytest.mark.parametrize("name", RULES)
def test_a_changed_item_is(name: str) -> None:
    changed, expected = RULES[name]
    assert kind(remembering(*SHOW), changed, *SHOW[1:]) is expected


def test_the_table_in_the_docs_has_these_rules_and_no_others() -> None:
    text = (Path(__file__).parent.parent / "docs" / "identity.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| ([^|]+?) \| `(\w+)` \|", text, re.MULTILINE)
    assert dict(table) == {name: kind.name.lower() for name, (_, kind) in RULES.items()}


CHANGES: list[dict[str, object]] = [
    {"guid": "other"},
    {"enclosure_url": OTHER},
    {"enclosure_url": MOVED},
    {"enclosure_url": "https://m.example/new/audio.mp3"},
    {"title": "Episode 5, mended"},
    {"published_at": LATER},
    {"duration": 1036},
    {"duration": 1090},
    {"duration": 3000},
    {"duration": None},
]
ALARM = [MatchKind.KNOWN, MatchKind.REPLACED, MatchKind.DOUBTFUL]


# The one item of which less would be more alarm: a bulletin at a fixed address, under another guid
# and title, later, and of another length. That is for ON_REPLACED to decide. With the title, the
# date or the length of the known episode it may be that one, and is held.
BULLETIN = {"guid", "title", "published_at", "duration"}
CALMED = {
    (frozenset(BULLETIN - {further}), further, duration)
    for further in ("title", "published_at", "duration")
    for duration in (1036, 1090, 3000)
}


def test_more_change_never_gives_less_alarm_but_where_it_is_said_here() -> None:
    """Of each set of changes and each further one. What was known by nothing any more is new."""
    memory = remembering(*SHOW)
    calmed = set()
    for size in range(1, 4):
        for changes in itertools.combinations(CHANGES, size):
            before = {name: value for each in changes for name, value in each.items()}
            for one in CHANGES:
                if not before.keys().isdisjoint(one):
                    continue
                less = kind(memory, item(5, **before), *SHOW[1:])
                more = kind(memory, item(5, **before, **one), *SHOW[1:])
                if MatchKind.NEW in (less, more) or ALARM.index(more) >= ALARM.index(less):
                    continue
                assert (less, more) == (MatchKind.DOUBTFUL, MatchKind.REPLACED), (before, one)
                (further,) = one
                calmed.add((frozenset(before), further, (before | one).get("duration")))
    assert calmed == CALMED


def slot(number: int, day: int, title: str = "The news", **values: object) -> Item:
    """A bulletin under a guid that each day's one has."""
    when = item(day).published_at
    url = f"https://m.example/{day}/{number}.mp3"
    plain = {"guid": f"slot-{number}", "title": title, "published_at": when, "enclosure_url": url}
    return item(day, **plain | {"duration": 300} | values)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("same_name", [False, True])
def test_bulletins_under_constant_guids_are_held_each_and_the_policy_is_the_way_out(
    size: int, *, same_name: bool
) -> None:
    for policy, expected in POLICIES.items():
        memory = Memory(Rules(first_run=FirstRun(everything=True), on_replaced=policy))
        for day in range(1, 6):
            url = (
                "https://m.example/{}/{}/bulletin-x.mp3"
                if same_name
                else "https://m.example/{}-{}.mp3"
            )
            document = [slot(n, day, enclosure_url=url.format(day, n)) for n in range(size)]
            decisions = memory.take(*document)
            assert day == 1 or verdicts(decisions) == [expected] * size, (policy, day)
            assert day == 1 or "ON_REPLACED" in decisions[0].reason


@pytest.mark.parametrize("guid", [None, "constant", "other"])
def test_a_fixed_address_with_another_title_and_date_is_held_and_the_policy_is_the_way_out(
    guid: str | None,
) -> None:
    latest = "https://m.example/latest.mp3"
    for policy, expected in POLICIES.items():
        memory = Memory(Rules(first_run=FirstRun(everything=True), on_replaced=policy))
        for day in range(1, 6):
            own = f"{guid}-{day}" if guid == "other" else guid
            now = item(day, guid=own, enclosure_url=latest)
            decisions = memory.take(now)
            assert day == 1 or verdicts(decisions) == [expected], (policy, day)
            assert day == 1 or "ON_REPLACED" in decisions[0].reason
            assert verdicts(memory.take(now)) == [Verdict.KNOWN], "said once"


def test_a_name_that_other_files_of_the_document_have_tells_nothing() -> None:
    shows = [
        item(n, enclosure_url=f"https://m.example/{n}/x.mp3", duration=None) for n in (3, 2, 1)
    ]
    anew = item(3, enclosure_url="https://m.example/3b/x.mp3", duration=None)
    assert kind(remembering(*shows), anew, *shows[1:]) is MatchKind.REPLACED
    assert kind(remembering(*shows[:1]), anew) is MatchKind.KNOWN


def test_a_date_that_many_episodes_have_is_none() -> None:
    memory = remembering(*(item(n, published_at=LATER) for n in range(1, 6)))
    decisions = memory.take(item(9, published_at=LATER), *(item(n) for n in (5, 4)))
    assert decisions[0].match.kind is MatchKind.NEW


# The document as a whole


def test_a_new_host_for_all_is_no_replacement() -> None:
    moved = [
        item(n, enclosure_url=f"https://new.example/{n}{n}-a.mp3", duration=None)
        for n in (5, 4, 3, 2, 1)
    ]
    assert verdicts(remembering(*SHOW).take(*moved)) == [Verdict.KNOWN] * 5


def test_a_new_episode_in_the_middle_of_a_move_is_new() -> None:
    moved = [item(n, enclosure_url=f"https://new.example/{n}-a.mp3") for n in (5, 4, 3, 2, 1)]
    decisions = remembering(*SHOW).look(item(6), *moved)
    assert verdicts(decisions) == [Verdict.SUBMIT] + [Verdict.KNOWN] * 5


def test_a_file_that_stands_twice_in_a_document_is_submitted_once() -> None:
    memory = Memory()
    twins = [item(1, guid="b", title="B"), item(1, guid="a")]
    assert verdicts(memory.take(*twins)) == [Verdict.SUBMIT, Verdict.KNOWN]
    for order in (twins, twins[::-1], twins[1:]):
        assert verdicts(memory.take(*order)) == [Verdict.KNOWN] * len(order)


def test_a_guid_that_all_items_share_hides_none_of_them() -> None:
    same = [item(number, guid="0") for number in (3, 2, 1)]
    memory = Memory()
    assert verdicts(memory.take(*same)) == [Verdict.SUBMIT] * 3
    assert verdicts(memory.take(item(4, guid="0"), *same)) == [Verdict.SUBMIT] + [Verdict.KNOWN] * 3


def test_two_items_with_one_title_and_date_need_a_person() -> None:
    duplicate_of = item(1, guid="b", enclosure_url=OTHER)
    assert verdicts(Memory().take(item(1), duplicate_of)) == [Verdict.SUBMIT, Verdict.HOLD]
    assert verdicts(remembering(item(1)).take(duplicate_of, item(1))) == [
        Verdict.HOLD,
        Verdict.KNOWN,
    ]


def test_an_item_that_vanishes_and_comes_back_is_known() -> None:
    memory = remembering(*SHOW)
    memory.take(*SHOW[1:])
    memory.take(*SHOW[2:])
    assert verdicts(memory.take(*SHOW)) == [Verdict.KNOWN] * 5


def test_an_older_copy_of_the_feed_changes_nothing() -> None:
    memory = remembering(*SHOW)
    memory.take(item(6), *SHOW)
    assert verdicts(memory.take(*SHOW)) == [Verdict.KNOWN] * 5
    assert verdicts(memory.take(item(6), *SHOW)) == [Verdict.KNOWN] * 6


def test_a_key_learned_on_a_known_episode_is_enough_later() -> None:
    memory = remembering(*SHOW)
    memory.take(item(5, guid="second"), *SHOW[1:])
    memory.take(item(5, guid="second", enclosure_url="https://new.example/5.mp3"), *SHOW[1:])
    again = item(5, guid=None, title="x", enclosure_url="https://new.example/5.mp3")
    assert verdicts(memory.take(again, *SHOW[1:])) == [Verdict.KNOWN] * 5


def test_a_feed_without_guids_works_by_its_audio() -> None:
    bare = [item(number, guid=None) for number in (3, 2, 1)]
    memory = remembering(*bare)
    decisions = memory.take(item(4, guid=None), *bare)
    assert verdicts(decisions) == [Verdict.SUBMIT] + [Verdict.KNOWN] * 3


def test_a_window_of_one_item_with_one_title_loses_none() -> None:
    memory = remembering(item(0, title="The news"))
    for number in range(1, 30):
        hours_later = item(0).published_at + number * HOUR  # type: ignore[operator]
        news = item(number, title="The news", published_at=hours_later, duration=100)
        assert verdicts(memory.take(news)) == [Verdict.SUBMIT]


def test_a_reissued_feed_submits_none() -> None:
    for size in (2, 3, 5, 40):
        memory = remembering(*(item(number) for number in range(size)))
        anew = [
            item(
                number,
                guid=f"anew-{number}",
                enclosure_url=f"https://new.example/{number}-anew.mp3",
                published_at=item(number + 500).published_at,
            )
            for number in range(size)
        ]
        assert verdicts(memory.take(*anew)) == [Verdict.HOLD] * size, size
        assert verdicts(memory.take(*anew)) == [Verdict.KNOWN] * size, "said once"


def test_items_told_apart_only_by_a_parameter_known_to_change_stay_apart() -> None:
    shows = [item(n, enclosure_url=f"https://m.example/play?token=abc{n}") for n in (3, 2, 1)]
    memory = Memory()
    assert verdicts(memory.take(*shows)) == [Verdict.SUBMIT] * 3
    assert verdicts(memory.take(*shows)) == [Verdict.KNOWN] * 3


def test_items_without_guids_are_told_apart_by_such_a_parameter_too() -> None:
    def show(number: int) -> Item:
        return item(number, guid=None, enclosure_url=f"https://m.example/play?token=ep{number}")

    memory = remembering(*(show(n) for n in (3, 2, 1)))
    decisions = memory.take(*(show(n) for n in (5, 4, 3, 2)))
    assert verdicts(decisions) == [Verdict.SUBMIT] * 2 + [Verdict.KNOWN] * 2


def test_such_a_parameter_of_one_item_that_stands_twice_tells_nothing() -> None:
    twice = [item(1, guid=None, enclosure_url=f"https://m.example/1.mp3?sig={n}") for n in "ab"]
    assert verdicts(Memory().take(*twice)) == [Verdict.SUBMIT, Verdict.KNOWN]


def test_one_address_for_all_episodes_loses_none() -> None:
    memory = Memory()
    latest = "https://m.example/latest.mp3"
    assert verdicts(memory.take(item(1, enclosure_url=latest))) == [Verdict.SUBMIT]
    for number in range(2, 9):
        assert verdicts(memory.take(item(number, enclosure_url=latest))) == [Verdict.HOLD]


def test_a_feed_whose_items_are_other_ones_at_every_check_is_never_paid_for_again() -> None:
    memory = Memory()
    held = 0
    for check in range(12):
        rotating = [
            item(
                n,
                guid=None,
                published_at=None,
                enclosure_url=f"https://m.example/{n}.mp3?x={check}",
            )
            for n in (1, 2, 3)
        ]
        found = verdicts(memory.take(*rotating))
        held += found.count(Verdict.HOLD)
        assert check == 0 or Verdict.SUBMIT not in found
    assert held <= 3, "and is held once, not every time"


def test_three_slots_that_bring_other_episodes_every_day_lose_none() -> None:
    memory = Memory()
    for day in range(4):
        slots = [item(10 * day + slot, guid=f"slot-{slot}") for slot in range(3)]
        assert Verdict.KNOWN not in verdicts(memory.take(*slots)), day


def test_a_pilot_that_is_issued_anew_is_held() -> None:
    memory = remembering(item(1))
    moment = item(1).published_at + timedelta(minutes=1)  # type: ignore[operator]
    anew = item(1, guid="anew", enclosure_url=OTHER, published_at=moment)
    assert verdicts(memory.take(anew)) == [Verdict.HOLD]


# Keys


@given(
    st.lists(
        st.builds(
            item,
            st.integers(0, 4),
            guid=st.none() | st.sampled_from(["a", "b", "c", "x" * 1000]),
            title=st.sampled_from(["", "T", "U"]),
            enclosure_url=st.none() | st.sampled_from([f"https://h/{n}.mp3" for n in range(4)]),
            duration=st.none() | st.sampled_from([100, 5000]),
        ),
        max_size=8,
    )
)
def test_what_was_met_once_is_never_new_again(items: list[Item]) -> None:
    memory = Memory()
    memory.take(*items)  # asserts that no key leads to two episodes
    for again in (items, items[::-1]):
        new = [one for one in memory.take(*again) if one.verdict is Verdict.SUBMIT]
        assert new == []


@given(st.text(max_size=3000))
def test_a_key_is_short_enough_for_an_index(text: str) -> None:
    for keys in keys_of([item(1, guid=text, title=text, enclosure_url=f"https://h/{text}")]):
        assert all(len(str(key)) < 600 for key in keys)


FILE = "media.example.org/show/Ep-1.mp3"


@pytest.mark.parametrize(
    "url",
    [
        f"https://{FILE}",
        f"http://{FILE}",
        "https://MEDIA.example.org/show/Ep-1.mp3#t=5",
        f"https://{FILE}?updated=1627319255",
        f"https://{FILE}?utm_source=rss&sig=abc",
        f"https://dts.podtrac.com/redirect.mp3/{FILE}",
        f"https://www.podtrac.com/pts/redirect.mp3/pdst.fm/e/chrt.fm/track/G481GD/{FILE}?updated=1",
        f"https://op3.dev/e/https://{FILE}",
        f"https://op3.dev/e,pg=abc/{FILE}",
        f"https://chtbl.com/track/38G959/{FILE}",
        f"https://pscrb.fm/rss/p/mgln.ai/e/35/{FILE}",
        f"https://media.blubrry.com/show/{FILE}",
        f"https://flex.acast.com/{FILE}",
        "https://anchor.fm/s/97c/podcast/play/562/https%3A%2F%2Fmedia.example.org%2Fshow%2FEp-1.mp3",
        "https://anchor.fm/s/9/podcast/play/5/sponsor/a2,a4/https%3A%2F%2Fmedia.example.org%2Fshow%2FEp-1.mp3",
    ],
)
def test_one_file_behind_many_addresses_is_one(url: str) -> None:
    assert comparable(url) == FILE


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://h/a.mp3?id=1", "https://h/a.mp3?id=2"),
        ("https://h/a.mp3", "https://h/A.mp3"),
        ("https://h/a.mp3", "https://i/a.mp3"),
        ("https://media.blubrry.com/show/1.mp3", "https://media.blubrry.com/other/1.mp3"),
    ],
)
def test_two_files_stay_two(one: str, other: str) -> None:
    assert comparable(one) != comparable(other)


@given(st.text(max_size=200))
def test_any_text_can_be_compared(url: str) -> None:
    assert isinstance(comparable(f"https://{url}"), str)


def test_every_prefix_is_an_expression_that_ends_where_an_address_begins() -> None:
    for prefix in PREFIXES:
        re.compile(prefix)
        assert prefix.endswith(("/", ")", ")?"))
