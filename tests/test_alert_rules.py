"""What needs a person, and what of it is told when."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from feedwatch.core import circuit_breaker, events, feed_lifecycle, json_forms
from feedwatch.core.alert import Alert, AlertKey, LostPodcast, Trouble, Waiting
from feedwatch.core.circuit_breaker import CircuitBreaker
from feedwatch.core.daemons import Daemon
from feedwatch.core.episode import State
from feedwatch.core.events import Event
from feedwatch.core.feed import Failed, Feed, Gone, Remark, RemarkKind
from feedwatch.core.job import Later
from feedwatch.core.pipeline import Step
from feedwatch.core.settings import Policy
from feedwatch.notify.alert_rules import AGAIN, CALM, OVER, current_troubles, transitions

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
FEED = Feed(name="show", url="https://h.example/feed")
WORKING = {"inlet": CircuitBreaker()}
PAUSED = {"inlet": CircuitBreaker(paused=True)}
FAILED = Failed("the server answered 500")
HELD = Waiting(
    feed="show",
    state=State.HELD,
    episodes=12,
    version="000000000012",
    newest_id=12,
    newest_title="Twelve",
    newest_reason="flood: 12 new items in one check, the limit is 5",
)


def of_feed(feed: Feed) -> list[str]:
    return [trouble.text for trouble in current_troubles([feed], WORKING, [])]


def failed(times: int, outcome: Failed | Gone = FAILED) -> Feed:
    feed = FEED
    for _ in range(times):
        feed = feed_lifecycle.checked(feed, outcome, None, NOW, 15 * MINUTE)
    return feed


class Told:
    """The alerts as the database would keep them, and every event."""

    def __init__(self) -> None:
        self.alerts: dict[AlertKey, Alert] = {}
        self.now = NOW

    def look(self, *current: Trouble, after: timedelta = MINUTE) -> list[Event]:
        self.now += after
        found = list(transitions(current, self.alerts, self.now))
        for change in found:
            self.alerts.pop(change.alert.key, None)
            if not change.over:
                self.alerts[change.alert.key] = change.alert
        return [change.event for change in found if change.event is not None]

    def types(self, *current: Trouble, after: timedelta = MINUTE) -> list[str]:
        return [event.type for event in self.look(*current, after=after)]


def held(mark: int = 1) -> Trouble:
    return Trouble(kind="held", feed="show", text="held", episodes=mark, version=f"{mark:03}")


FAILING = Trouble(kind="failing", feed="show", text="down")


# What is wrong


def daemon(name: str, mark: str = "a", *, leads: bool = False, **more: Any) -> Daemon:
    values: dict[str, Any] = {"unseen_for": timedelta(seconds=3), "clock_offset": 0.01} | more
    return Daemon(
        id=f"{name}/7/f0",
        host=name,
        version="1",
        config_mark=mark,
        started_at=NOW,
        leads=leads,
        **values,
    )


def of_daemons(*daemons: Daemon) -> list[Trouble]:
    return current_troubles([], WORKING, [], daemons=daemons)


def test_daemons_whose_config_is_not_the_leaders_are_a_trouble() -> None:
    leader, other, third = daemon("one", leads=True), daemon("two", "b"), daemon("three", "c")
    assert of_daemons(leader, daemon("four")) == []
    (trouble,) = of_daemons(leader, other)
    assert trouble.kind == "config"
    assert "process 7 on two and process 7 on one, which leads, have two configs" in trouble.text
    (grown,) = of_daemons(leader, other, third)
    assert grown.version > trouble.version
    assert of_daemons(leader, other._replace(unseen_for=HOUR)) == []
    assert of_daemons(other, third) == [], "nobody leads just now"


@pytest.mark.parametrize(
    ("offset", "is_wrong"),
    [(59, False), (-61, True), (75, True), (None, False)],
)
def test_a_daemon_whose_clock_is_far_off_is_a_trouble(
    offset: float | None, *, is_wrong: bool
) -> None:
    found = of_daemons(daemon("one", leads=True), daemon("two", clock_offset=offset))
    assert [one.kind for one in found] == ["clock"] * is_wrong
    for one in found:
        assert f"process 7 on two is {abs(offset or 0)} s off" in one.text


def test_where_all_is_well_there_is_no_trouble() -> None:
    assert current_troubles([FEED, replace(FEED, paused=True)], PAUSED, []) == []


def test_one_trouble_tells_of_all_held_episodes_of_a_feed_and_what_to_do() -> None:
    (trouble,) = current_troubles([], WORKING, [HELD])
    assert trouble.key == AlertKey("held", "show")
    assert AlertKey.parse(str(trouble.key)) == trouble.key
    assert "12 episodes held" in trouble.text
    assert "flood: 12 new items" in trouble.text
    assert "`feedwatch approve --feed show` or `feedwatch skip --feed show`" in trouble.text


@pytest.mark.parametrize(
    ("state", "kind", "todo"),
    [
        (State.UNKNOWN, "unknown", "`feedwatch adopt 12 MEDIA_ID`"),
        (State.FAILED, "failed", "`feedwatch retry 12`"),
        (State.PROCESSING, "overdue", "ask the media API"),
    ],
)
def test_each_state_that_needs_a_person_says_what_to_do(state: State, kind: str, todo: str) -> None:
    (trouble,) = current_troubles([], WORKING, [replace(HELD, state=state, episodes=1)])
    assert (trouble.kind, trouble.feed, trouble.episodes) == (kind, "show", 1)
    assert "1 episode" in trouble.text
    assert todo in trouble.text


def test_a_feed_is_in_trouble_after_three_failures_in_a_row() -> None:
    assert of_feed(failed(2)) == []
    (text,) = of_feed(failed(3))
    assert "3 checks in a row failed: the server answered 500" in text
    assert "FEEDWATCH_FEEDS__SHOW__URL" in text


def test_a_feed_that_is_gone_is_in_trouble_at_once() -> None:
    (text,) = of_feed(failed(1, Gone()))
    assert "take the feed out of the config" in text


def test_a_feed_taken_out_of_the_config_is_nobodys_trouble() -> None:
    assert of_feed(replace(failed(9), active=False)) == []


def test_a_podcast_that_is_missing_is_its_feeds_trouble_and_says_the_way_out() -> None:
    feed = replace(failed(0), missing_podcast="pod-9")
    (trouble,) = current_troubles([feed], WORKING, [])
    assert str(trouble.key) == "podcast show"
    assert "pod-9" in trouble.text
    assert "FEEDWATCH_FEEDS__SHOW__PODCAST_ID" in trouble.text


def test_jobs_that_are_all_lost_are_one_trouble() -> None:
    lost = LostPodcast(feed="show", podcast_id="pod-9", jobs=7)
    (trouble,) = current_troubles([], WORKING, [], [lost])
    assert (str(trouble.key), trouble.episodes) == ("lost show", 7)
    assert "pod-9" in trouble.text
    helper = replace(lost, podcast_id="enhance:pod-9", step=Step.ENHANCE)
    (trouble,) = current_troubles([], WORKING, [], [helper])
    assert "mediaapis knows none of the 7 jobs of enhance:pod-9; was its key" in trouble.text


def test_submissions_that_stop_are_trouble_at_once_where_a_person_must_act() -> None:
    refused = Later("the API key is refused (401)", blocked=True)
    breaker = circuit_breaker.breaker_after_answer(CircuitBreaker(), 7, refused, NOW, Policy())
    (trouble,) = current_troubles([], {"inlet": breaker}, [])
    assert (trouble.kind, str(trouble.key)) == ("blocked", "blocked")
    assert AlertKey.parse("blocked") == trouble.key
    assert "the API key is refused (401)" in trouble.text


def test_an_outage_of_the_api_is_trouble_once_it_lasts() -> None:
    breaker, now = CircuitBreaker(), NOW
    while not current_troubles([], {"inlet": breaker}, []):
        breaker = circuit_breaker.breaker_after_read(breaker, Later("503"), now, Policy())
        now = breaker.tripped_until or now
    assert 30 * MINUTE < now - NOW < 90 * MINUTE


def test_every_kind_has_words_for_its_end() -> None:
    waiting = [replace(HELD, state=state) for state in State]
    gates = [
        CircuitBreaker(tripped_until=NOW, blocked=True, reason="401"),
        CircuitBreaker(tripped_until=NOW, failures=99, reason="503"),
    ]
    feeds = [failed(3), failed(1, Gone())]
    remarks = tuple(Remark(kind, "1") for kind in RemarkKind)
    silent = replace(feeds[0], error=None, silent_since=NOW, missing_podcast="p", remarks=remarks)
    feeds.append(silent)
    lost = [LostPodcast(feed="show", podcast_id="p", jobs=2)]
    daemons = [daemon("one", leads=True), daemon("two", "b", clock_offset=99.0)]
    kinds = {
        trouble.kind
        for breaker in gates
        for trouble in current_troubles(feeds, {"inlet": breaker}, waiting, lost, daemons)
    }
    assert kinds == OVER.keys()


# What is told


def test_an_outage_is_told_once_and_so_is_its_end() -> None:
    told = Told()
    (began,) = told.look(held())
    assert began.type == "trouble.began"
    assert began.data["since"] == json_forms.stamp(told.now)
    assert told.look(held()) == []
    assert told.look(held(), after=48 * HOUR) == []
    (ended,) = told.look()
    assert (ended.type, ended.data["key"]) == ("trouble.ended", "held show")
    assert ended.data["since"] == began.data["since"]
    assert ended.text == "over: feed show: no episode is held any more"
    assert told.look() == []


def test_more_of_the_same_is_told_but_not_oftener_than_once_an_hour() -> None:
    told = Told()
    told.look(held(1))
    assert told.look(held(2)) == []
    assert told.look(held(3)) == []
    assert told.types(held(3), after=AGAIN) == ["trouble.grew"]
    assert told.look(held(3), after=AGAIN) == []
    assert told.look(held(2), after=AGAIN) == []  # one less is no news


def test_what_ends_by_itself_is_over_only_once_it_stays_well() -> None:
    told = Told()
    assert told.types(FAILING) == ["trouble.began"]
    for _ in range(5):
        assert told.look() == []
        assert told.look(FAILING) == []
    assert told.look() == []
    assert told.look(after=CALM["failing"] - MINUTE) == []
    assert told.types() == ["trouble.ended"]


def test_a_clock_that_is_set_back_keeps_nothing_from_being_told() -> None:
    told = Told()
    told.look(held(1), FAILING)
    assert told.types(held(2), FAILING, after=-24 * HOUR) == ["trouble.grew"]
    told.look(held(2))
    assert told.types(held(2), after=-24 * HOUR) == ["trouble.ended"]


def test_two_events_have_two_ids_and_one_comes_back_from_json_as_it_was() -> None:
    told = Told()
    both = told.look(held(), FAILING)
    assert len({event.id for event in both}) == 2
    assert [events.from_json(events.to_json(event)) for event in both] == both


def test_what_a_title_says_stays_on_one_line() -> None:
    (trouble,) = current_troubles([], WORKING, [replace(HELD, newest_reason="two\nlines\x1b[2J")])
    (event,) = Told().look(trouble)
    assert event.text.isprintable()
