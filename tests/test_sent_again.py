"""`retry --again`: a ready episode is paid for once more, on purpose and once."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from feedwatch.core.episode import State
from feedwatch.core.ledger import Outcome, Target
from feedwatch.sandbox.faults import Fault
from feedwatch.store.journal import Journal
from feedwatch.watcher import decisions
from feedwatch.watcher.decisions import Proposal
from feedwatch.watcher.errors import RequestError
from feedwatch.watcher.repetitions import repetition
from tests.support import audio, item
from tests.test_ledger import back_up
from tests.world import World, world

REFUSED = Fault("submit", "status", status=400, body='{"error":"Bad","message":"too short"}')


@pytest.fixture
def ready(tmp_path: Path) -> Iterator[World]:
    """A feed whose one episode is ready, and a journal. What the database was before is `empty`."""
    with world(tmp_path / "feedwatch.db") as one:
        one.feeds.publish(1)
        one.check()
        one.context.journal = Journal([tmp_path / "claims"])
        one.submissions.recover()
        back_up(tmp_path / "feedwatch.db", tmp_path / "queued.db")
        finish(one)
        assert one.states() == {"guid-1": State.READY}
        yield one


def finish(one: World) -> None:
    """Submit what may be, and follow the jobs to their end."""
    one.submit()
    one.later(minutes=1)
    one.poll()


def target(one: World) -> Target:
    return Target("inlet", one.context.apis["inlet"], one.sources[0].podcast_id)


def proposed(one: World, *ids: int) -> Proposal:
    return repetition(one.store, one.context.plan, ids, one.now, lambda _: [target(one)])


def send_again(one: World) -> None:
    proposal = proposed(one, one.episode().id)
    assert decisions.carry_out(one.store, proposal, "test", one.now) == []
    assert one.states()["guid-1"] is State.QUEUED


def test_it_is_sent_once_more_and_then_stays_ready_by_its_new_job(ready: World) -> None:
    before = ready.episode()
    send_again(ready)
    for _ in range(3):
        finish(ready)
        ready.later(hours=1)
        ready.check()
    after = ready.episode()
    assert len(ready.sandbox.submissions) == 2
    assert (after.state, after.attempts) == (State.READY, 1)
    assert [before.media_id, after.media_id] == list(ready.sandbox.jobs)
    assert after.processed_url == ready.sandbox.jobs[after.media_id or ""]["url"]
    claims = ready.store.claims.latest(9)
    assert [(one.outcome, one.media_id) for one in claims] == [
        (Outcome.ACCEPTED, before.media_id),
        (Outcome.ACCEPTED, after.media_id),
    ]


def test_attempts_are_counted_from_the_decision_on(ready: World) -> None:
    assert ready.episode().attempts == 1
    send_again(ready)
    assert ready.episode().attempts == 0
    ready.sandbox.faults.add(Fault("submit", "status", status=429))
    for attempts in (1, 2):
        ready.submit()
        assert ready.episode().attempts == attempts
        ready.later(hours=1)


def test_the_history_keeps_the_first_job_and_its_address_and_who_decided(ready: World) -> None:
    before = ready.episode()
    send_again(ready)
    finish(ready)
    (entry,) = (one for one in ready.store.episodes.history(before.id) if one.actor == "test")
    assert str(before.media_id) in (entry.reason or "")
    assert str(before.processed_url) in (entry.reason or "")


def test_the_processed_url_stays_until_the_new_job_is_done(ready: World) -> None:
    before = ready.episode().processed_url
    send_again(ready)
    assert ready.episode().processed_url == before
    ready.sandbox.faults.add(REFUSED)
    finish(ready)
    failed = ready.episode()
    assert (failed.state, failed.media_id) == (State.FAILED, None), "no job but its own is asked"
    (processed,) = ready.store.episodes.find(processed=True)
    assert processed.processed_url == before


def test_what_is_sent_is_the_address_that_the_feed_has_by_now(ready: World) -> None:
    fresh = f"{audio(1)}?token-time=2"
    ready.feeds.publish(item(1, url=fresh))
    ready.later(hours=1)
    ready.check()
    assert ready.episode().enclosure_url == audio(1)
    ((_, after),) = proposed(ready, ready.episode().id).moves
    assert after.enclosure_url == fresh
    send_again(ready)
    finish(ready)
    assert [body["url"] for body in ready.sandbox.taken] == [audio(1), fresh]


def test_only_what_is_ready_is_sent_again(ready: World) -> None:
    send_again(ready)
    with pytest.raises(RequestError, match="is queued; only what is ready can be sent again"):
        proposed(ready, ready.episode().id)


def test_claims_of_its_own_do_not_stop_it_and_both_of_them_stop_its_double(ready: World) -> None:
    ready.feeds.publish(item(1, guid="double"), path="/other.xml")
    ready.sources.append(ready.source("other", "/other.xml"))
    journal = ready.context.journal
    ready.restart()
    ready.context.journal = journal
    ready.check()
    ready.submit()
    double = ready.episode("double")
    assert double.state is State.HELD
    ((first, _),) = ready.store.claims.conflicts([(double, [target(ready)])])[double.id]
    send_again(ready)
    finish(ready)
    ((second, _),) = ready.store.claims.conflicts([(double, [target(ready)])])[double.id]
    assert second.number > first.number
    assert (ready.episode().state, ready.episode("double").state) == (State.READY, State.HELD)
    assert len(ready.sandbox.submissions) == 2


def test_the_limits_hold_for_it_as_for_any_other(ready: World) -> None:
    limited = replace(ready.policy, max_submissions_per_day=1)
    ready.context.plan = replace(ready.context.plan, policy=limited)
    send_again(ready)
    finish(ready)
    assert ready.states() == {"guid-1": State.QUEUED}
    ready.later(days=1)
    finish(ready)
    assert len(ready.sandbox.submissions) == 2


@pytest.mark.parametrize(
    ("copied", "fault", "outcome", "state", "job"),
    [
        ("queued", None, "accepted", State.PROCESSING, 1),
        ("queued", REFUSED, "refused", State.PROCESSING, 0),
        ("ready", None, "accepted", State.READY, 0),
        ("again", None, "accepted", State.PROCESSING, 1),
    ],
)
def test_a_restored_database_learns_of_both_claims_and_pays_for_nothing(
    ready: World,
    tmp_path: Path,
    copied: str,
    fault: Fault | None,
    outcome: str,
    state: State,
    job: int,
) -> None:
    """The copy is older than both claims, older than the second one, or than its POST alone."""
    path = tmp_path / "feedwatch.db"
    back_up(path, tmp_path / "ready.db")
    send_again(ready)
    back_up(path, tmp_path / "again.db")
    if fault is not None:
        ready.sandbox.faults.add(fault)
    ready.later(minutes=1)
    ready.submit()
    back_up(tmp_path / f"{copied}.db", path)
    ready.submit()
    found = ready.episode()
    assert (found.state, found.media_id) == (state, list(ready.sandbox.jobs)[job])
    assert ready.store.claims.latest(9)[-1].outcome == outcome
    assert len(ready.sandbox.submissions) == 2
    if state is State.READY:
        told = " ".join(proposed(ready, found.id).warnings)
        assert "was sent again on" in told, "a person decides again, and pays for a third time"
        assert list(ready.sandbox.jobs)[1] in told


def test_without_a_restore_nothing_is_said_of_one(ready: World) -> None:
    (warning,) = proposed(ready, ready.episode().id).warnings
    assert "published once more" in warning
