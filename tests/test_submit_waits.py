"""What waits for its date, or for FEEDWATCH_SUBMIT_DELAY, and for how long."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedwatch.core.episode import State
from feedwatch.core.feed import Document, ParsedFeed
from feedwatch.core.ledger import Target
from feedwatch.core.schedule import DAY, HOUR, MINUTE
from feedwatch.core.settings import FeedConfig, FutureDated, Rules
from feedwatch.core.submit_waits import wait_of
from feedwatch.feeds.parse import parse
from feedwatch.sandbox.faults import Fault
from feedwatch.watcher import decisions, submissions
from feedwatch.watcher.evaluate import decisions_for
from feedwatch.watcher.restore import NextImport
from tests.support import item, rss
from tests.world import World, world

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
NEVER = datetime(2038, 1, 1, tzinfo=UTC)
CONFIG = FeedConfig(name="show", url="http://feeds.example.org/feed.xml", podcast_id="p")
TIMES = st.timedeltas(timedelta(days=-60), timedelta(days=60))
DELAYS = st.one_of(st.just(timedelta()), st.timedeltas(timedelta(), timedelta(days=40)))


@given(TIMES, TIMES, DELAYS, st.sampled_from(FutureDated))
def test_it_waits_until_its_date_and_its_delay_and_never_for_longer(
    ahead: timedelta, seen: timedelta, delay: timedelta, future: FutureDated
) -> None:
    config = replace(CONFIG, submit_delay=delay, future_dated=future)
    wait = wait_of(NOW + ahead, NOW + seen, config, NOW)
    waits_for_date = future is FutureDated.WAIT and timedelta() < ahead <= 30 * DAY
    waits_for_delay = seen <= timedelta() < seen + delay
    date = max(min(ahead, min(seen, timedelta()) + 30 * DAY), timedelta())
    expected = max(date * waits_for_date, (seen + delay) * waits_for_delay)
    assert (wait.until - NOW if wait is not None else timedelta()) == expected
    if wait is not None:
        assert f"waits until {wait.until:%Y-%m-%d %H:%M}" in wait.reason
        was_sane = seen <= timedelta() and ahead <= 30 * DAY
        assert wait_of(NOW + ahead, NOW + seen, config, wait.until) is None or not was_sane


def test_without_a_date_there_is_nothing_to_wait_for() -> None:
    assert wait_of(None, NOW, CONFIG, NOW) is None


# With the whole loop


@pytest.fixture
def show(tmp_path: Path) -> Iterator[World]:
    """A feed that is known, so that what comes next is new."""
    with world(tmp_path / "feedwatch.db") as one:
        configure(one)
        one.feeds.publish(1, 2)
        one.check()
        yield one


def configure(one: World, **values: object) -> None:
    source = replace(one.source("show"), rules=Rules())
    one.sources = [replace(source, **values)]  # type: ignore[arg-type]
    one.restart()


def publish(one: World, when: datetime) -> None:
    """A new episode, number 3, of this date."""
    one.feeds.publish(item(3, when=when), 1, 2)
    one.later(hours=1)
    one.check()
    one.submit()


def days_until_submitted(one: World) -> float:
    """Let the days pass, six hours at a time, while the episode waits; how many there were."""
    passed = 0.0
    while one.episode("guid-3").state is State.QUEUED:
        due_at = one.episode("guid-3").due_at
        assert due_at is not None
        assert one.now < due_at <= one.now + DAY, "nothing is due more than two days ahead"
        assert not one.sandbox.taken
        one.later(hours=6)
        passed += 0.25
        one.submit()
        assert passed < 50
    return passed


def test_an_episode_that_is_dated_ahead_waits_for_its_date(show: World) -> None:
    when = show.now + timedelta(days=10)
    publish(show, when)
    one = show.episode("guid-3")
    assert (one.state, one.reason) == (
        State.QUEUED,
        f"waits until {when:%Y-%m-%d %H:%M:%S}Z, the date that its publisher states",
    )
    assert days_until_submitted(show) == 10
    (body,) = show.sandbox.taken
    assert body["publishedDate"] == when.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    reasons = [entry.reason for entry in show.store.episodes.history(one.id)]
    assert reasons == ["new", one.reason, None, None], "it is said once, not at each look"


def test_a_corrected_date_counts_at_once(show: World) -> None:
    for days in (10, 20, 5):
        publish(show, when := show.now + timedelta(days=days))
        assert f"waits until {when:%Y-%m-%d %H:%M}" in (show.episode("guid-3").reason or "")
        assert not show.sandbox.taken
    publish(show, show.now)
    (body,) = show.sandbox.taken
    assert body["publishedDate"] == f"{show.now - HOUR:%Y-%m-%dT%H:%M:%S}.000Z"


def test_with_submit_it_is_submitted_at_once_with_its_date(show: World) -> None:
    configure(show, future_dated=FutureDated.SUBMIT)
    publish(show, show.now + timedelta(days=10))
    (body,) = show.sandbox.taken
    assert body["publishedDate"] == "2026-12-01T12:00:00.000Z"


@pytest.mark.parametrize("future", FutureDated)
@pytest.mark.parametrize("when", [NOW + timedelta(days=30, hours=2), NEVER])
def test_a_date_more_than_a_month_ahead_counts_as_not_stated(
    show: World, future: FutureDated, when: datetime
) -> None:
    configure(show, future_dated=future)
    publish(show, when)
    (body,) = show.sandbox.taken
    assert body.get("publishedDate") is None
    said = show.store.episodes.history(show.episode("guid-3").id)[0].reason
    assert said == (
        f"new; its date, {when:%Y-%m-%d}, is more than 30 days ahead and counts as not stated"
    )


def test_a_new_episode_waits_for_the_delay_from_when_it_was_first_seen(show: World) -> None:
    configure(show, submit_delay=2 * DAY)
    publish(show, show.now)
    assert "FEEDWATCH_SUBMIT_DELAY" in (show.episode("guid-3").reason or "")
    assert days_until_submitted(show) == 2


def test_the_later_of_date_and_delay_counts(show: World) -> None:
    configure(show, submit_delay=2 * DAY)
    publish(show, show.now + timedelta(days=4))
    assert days_until_submitted(show) == 4


def test_one_that_waits_keeps_no_other_waiting(show: World) -> None:
    show.feeds.publish(item(3, when=show.now + timedelta(days=3)), item(4, when=show.now), 1, 2)
    show.later(hours=1)
    show.check()
    show.submit()
    assert [body["name"] for body in show.sandbox.taken] == ["Episode 4"]


def test_a_changed_config_counts_at_once_for_what_waits_already(show: World) -> None:
    configure(show, submit_delay=20 * DAY)
    publish(show, show.now + timedelta(days=10))
    assert not show.sandbox.taken
    for changed in ({"submit_delay": MINUTE}, {"future_dated": FutureDated.SUBMIT}):
        assert not show.sandbox.taken
        source = replace(show.sources[0], **changed)
        show.sources = [source]
        show.context.plan = replace(show.context.plan, sources={"show": source})
        show.later(minutes=5)
        show.submit()
    assert len(show.sandbox.taken) == 1


def test_a_clock_that_was_set_back_does_not_make_the_delay_longer(show: World) -> None:
    configure(show, submit_delay=HOUR)
    publish(show, show.now)
    show.now -= timedelta(days=90)
    show.restart()
    show.submit()
    assert len(show.sandbox.taken) == 1


def test_approve_says_what_an_episode_waits_for_and_does_not_overrule_it(show: World) -> None:
    held = replace(show.sources[0].rules, flood_limit=0)
    configure(show, rules=held)
    when = show.now + timedelta(days=10)
    publish(show, when)
    one = show.episode("guid-3")
    assert one.state is State.HELD
    target = Target("inlet", show.context.apis["inlet"], show.sources[0].podcast_id)
    proposal = decisions.approval(
        show.store, show.sources, [one.id], None, show.now, lambda _: [target]
    )
    assert [f"episode {one.id} waits until {when:%Y-%m-%d}" in text for text in proposal.warnings]
    assert not decisions.carry_out(show.store, proposal, "cli:me", show.now)
    show.submit()
    assert days_until_submitted(show) == 10


def test_one_pass_does_not_stay_for_what_waits(show: World) -> None:
    publish(show, show.now + timedelta(days=10))
    claims, name = show.store.claims, show.context.processors["inlet"].name
    assert not claims.may_claim_later(name, show.now, show.policy)
    show.later(days=10)
    assert claims.may_claim_later(name, show.now, show.policy), "it is due now"


def test_what_waits_for_its_date_is_not_counted_among_what_an_outage_keeps_waiting(
    show: World,
) -> None:
    show.sandbox.faults.add(Fault(on="any", kind="status", status=503, times=None))
    dated = item(3, when=show.now + timedelta(days=10))

    def unsent(*items: str | int) -> int:
        show.feeds.publish(*items, 1, 2)
        show.later(hours=1)
        show.check()
        show.submit()
        found = show.store.statistics.unsent(show.now)
        assert (found.due_at is None) == (found.episodes == 0)
        return found.episodes

    name = "inlet"
    assert unsent(dated) == 0
    assert show.store.breakers.get(name).tripped_until is None, "nothing was read for its sake"
    assert unsent(dated, item(4, when=show.now)) == 1
    assert show.store.breakers.get(name).tripped_until is not None
    assert unsent(dated, item(4, when=show.now), item(5, when=show.now + timedelta(days=9))) == 1


def test_after_a_clock_that_was_set_back_what_is_due_is_due_now(show: World) -> None:
    show.sandbox.faults.add(Fault(on="any", kind="status", status=503, times=None))
    publish(show, show.now)
    show.now -= timedelta(days=90)
    assert show.store.statistics.unsent(show.now) == (1, show.now)


def test_a_dry_run_says_until_when_an_item_would_wait(show: World) -> None:
    body = rss(item(3, when=show.now + timedelta(days=10)), 1, 2)
    parsed = parse(Document(body=body, url=show.sources[0].url), ["audio/*"])
    assert isinstance(parsed, ParsedFeed)
    (feed,) = show.store.feeds.all()
    source, apis = show.sources[0], show.context.apis
    found = decisions_for(show.store, feed, source, parsed, apis, show.now, NextImport())
    waits = "new; waits until 2026-12-01 12:00:00Z, the date that its publisher states"
    assert (found[0].verdict, found[0].reason) == ("submit", waits)


def test_a_dry_run_says_why_an_item_would_not_wait_for_its_date(show: World) -> None:
    parsed = parse(Document(body=rss(item(3, when=NEVER), 1, 2), url=show.feeds.url), ["audio/*"])
    assert isinstance(parsed, ParsedFeed)
    (feed,) = show.store.feeds.all()
    source, apis = show.sources[0], show.context.apis
    found = decisions_for(show.store, feed, source, parsed, apis, show.now, NextImport())
    assert (found[0].verdict, found[0].reason) == (
        "submit",
        "new; its date, 2038-01-01, is more than 30 days ahead and counts as not stated",
    )


def test_a_date_that_is_put_ahead_again_and_again_is_waited_for_no_longer_than_a_month(
    show: World,
) -> None:
    for _ in range(40):
        publish(show, show.now + timedelta(hours=49))
        if show.sandbox.submissions:
            break
        show.later(days=1)
        show.submit()
    assert 28 <= (show.now - show.begins_at).days <= 32
    assert len(show.sandbox.submissions) == 1


def test_all_that_waits_is_put_off_while_nothing_may_be_submitted_however_much_it_is(
    show: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submissions, "BATCH", 2)
    configure(show, rules=Rules(flood_limit=50))
    show.sandbox.faults.add(Fault(on="any", kind="status", status=503, times=None))
    when = show.now + timedelta(days=10)
    show.feeds.publish(*(item(number, when=when) for number in range(3, 9)), item(9), 1, 2)
    show.later(hours=1)
    show.check()
    show.submit()
    waiting = [show.episode(f"guid-{number}") for number in range(3, 9)]
    assert all("waits until" in (one.reason or "") for one in waiting)
    assert all((one.due_at or show.now) > show.now for one in waiting)
