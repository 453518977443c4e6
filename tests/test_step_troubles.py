"""Between two steps: a reload, a lost database, a file that is never there, an API in doubt."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest

from feedwatch.cli.inspect import _hint
from feedwatch.config.values import pipeline
from feedwatch.core.circuit_breaker import CircuitBreaker
from feedwatch.core.episode import Cause, State
from feedwatch.core.identity import Key
from feedwatch.core.job import Accepted, Later, Progress, Task
from feedwatch.core.ledger import Claim, Outcome, Target, key_hash, paid_reason
from feedwatch.core.ledger_lifecycle import accepted_elsewhere
from feedwatch.core.pipeline import Step
from feedwatch.notify.alert_rules import current_troubles
from feedwatch.processors import INLET, MEDIAAPIS
from feedwatch.processors.inlet import Inlet
from feedwatch.store.journal import Journal
from feedwatch.watcher import decisions, restore
from feedwatch.watcher.errors import RequestError
from feedwatch.watcher.repetitions import passing_over
from feedwatch.watcher.set_asides import set_others_aside
from tests.helper_api import Helper
from tests.support import PODCAST
from tests.test_steps import Piped, piped
from tests.world import HookedJournal, World


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Piped]:
    with piped(tmp_path, "enhance,ads") as found:
        yield found


# A reload, which replaces processors and plan at any time


def test_a_post_goes_to_the_api_that_its_claim_names_whatever_the_config_says_by_then(
    both: Piped,
) -> None:
    one = both.world

    def reloaded() -> None:
        """Between the claim and its POST."""
        one.context.processors = {INLET: one.context.processors[INLET]}

    one.context.journal = HookedJournal(reloaded)
    one.check()
    one.submit()
    assert (one.episode().state, both.posts) == (State.PROCESSING, (1, 0))
    claim = one.store.claims.of(one.episode())
    assert claim is not None
    assert claim.target.api == both.api.url


def test_nothing_is_claimed_for_an_api_that_was_replaced_meanwhile(
    both: Piped, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = both.world

    def replaced(_helper: Helper) -> Later | None:
        one.context.processors = {**one.context.processors, MEDIAAPIS: Helper(both._http)}
        return None

    monkeypatch.setattr(Helper, "prepare", replaced)
    one.check()
    one.submit()
    assert (one.episode().state, both.posts) == (State.QUEUED, (0, 0))
    monkeypatch.undo()
    one.submit()
    assert (one.episode().state, both.posts) == (State.PROCESSING, (1, 0))


def test_a_safe_read_names_a_podcast_that_the_api_has(
    both: Piped, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = both.world
    asked: list[str] = []

    def probe(_inlet: Inlet, target: str, _media_id: str | None) -> None:
        asked.append(target)

    monkeypatch.setattr(Inlet, "probe", probe)
    both.configure("ads")
    alone = replace(one.source("a-first", "/a.xml"), podcast_id="", pipeline=pipeline("enhance"))
    one.sources = [alone, *one.sources]
    one.restart()
    both.attach()
    one.check()
    one.context.plan = replace(one.context.plan, sources={it.name: it for it in one.sources})
    one.submit()
    assert asked == [PODCAST]


# A step that does not end


def test_an_overdue_step_is_passed_over_by_a_person_and_no_other_that_is_under_way(
    both: Piped,
) -> None:
    one = both.world
    both.api.next_state = {"status": "Running"}
    both.run(1)
    ids = [one.episode().id]
    with pytest.raises(RequestError, match="is processing"):
        passing_over(one.store, one.context.plan, ids, one.now)
    one.later(hours=25)
    one.poll()
    assert one.episode().overdue
    course = one.context.plan.course(one.episode())
    assert "feedwatch skip --step 1" in (_hint(one.episode(), course) or "")
    both.decide(passing_over(one.store, one.context.plan, ids, one.now))
    both.run()
    assert one.episode().state is State.READY
    assert both.ended() == [("enhance", "passed_over"), ("ads", "done")]
    assert both.posts == (1, 1)


def test_a_job_of_the_only_step_that_there_was_is_not_followed_by_an_earlier_step(
    both: Piped,
) -> None:
    both.configure("ads")
    both.world.check()
    both.world.submit()
    both.configure("enhance,ads")
    both.run()
    assert (both.world.episode().state, both.posts) == (State.READY, (0, 1))


# Doubts


def missing_claim(both: Piped, **values: object) -> Claim:
    plain = Claim(
        number=7,
        token="t",
        at=both.world.now,
        target=Target(MEDIAAPIS, both.api.url, f"enhance:{PODCAST}"),
        step=Step.ENHANCE,
        feed="show",
        title="Episode 1",
        keys=(key_hash(Key.parse("guid:guid-1")),),
        episode_id=1,
        posted_for=1,
    )
    return replace(plain, **values)  # type: ignore[arg-type]


def test_a_doubt_that_the_journal_brings_stops_the_api_that_it_is_about_alone(
    both: Piped, tmp_path: Path
) -> None:
    one = both.world
    one.check()
    one.context.journal = Journal([tmp_path / "claims"])
    one.context.journal.append_claim(missing_claim(both))
    one.submissions.recover()
    assert (one.episode().state, one.episode().step) == (State.UNKNOWN, Step.ENHANCE)
    assert one.store.breakers.get(MEDIAAPIS).doubtful_posts == 1
    assert one.store.breakers.get(INLET) == CircuitBreaker()


def test_what_was_submitted_to_another_address_is_told_with_the_key_of_that_api(
    both: Piped,
) -> None:
    claim = missing_claim(both, outcome=Outcome.ACCEPTED, media_id="j")
    assert "which is not FEEDWATCH_MEDIAAPIS_URL" in paid_reason(claim, "https://new:443")
    of_inlet = replace(claim, target=Target(INLET, "https://old:443", PODCAST))
    assert "which is not FEEDWATCH_API_URL" in paid_reason(of_inlet, "https://new:443")
    of_nobody = replace(claim, target=Target("of-a-later-version", "https://old:443", "x"))
    assert "of-a-later-version" in paid_reason(of_nobody, "https://new:443")
    both.world.check()
    episode = replace(both.world.episode(), state=State.UNKNOWN)
    reason = accepted_elsewhere(episode, claim).reason or ""
    assert "FEEDWATCH_MEDIAAPIS_URL is now another address" in reason


def test_an_odd_answer_to_a_step_that_was_passed_over_sets_nothing_aside(both: Piped) -> None:
    one = both.world
    one.check()
    both.decide(passing_over(one.store, one.context.plan, [one.episode().id], one.now))
    episode = one.episode()
    assert (episode.state, episode.step) == (State.QUEUED, Step.ADS)
    before = CircuitBreaker(odd_episode=episode.id, odd_answers=1)
    for step, state in ((Step.ENHANCE, State.QUEUED), (Step.ADS, State.HELD)):
        another = replace(episode, id=99, step=step)
        set_others_aside(one.context, before, another, Accepted("m"))
        assert one.episode().state is state


# A database that lacks claims


@pytest.mark.parametrize("status", ["Success", "Failed"])
def test_where_nobody_knows_what_is_missing_a_job_is_followed_and_the_next_step_is_held(
    tmp_path: Path, status: str
) -> None:
    with piped(tmp_path, "enhance?,ads") as both:
        one = both.world
        both.api.next_state = {"status": "Running"}
        both.run(1)
        restore._hold_everything(one.context)
        one.later(hours=1)
        one.poll()  # what says that it is under way forgets no doubt
        assert (one.episode().state, one.episode().cause) == (State.PROCESSING, Cause.DOUBTED)
        both.api.jobs[0].state = {"status": status}
        one.later(hours=1)
        both.run()
        episode = one.episode()
        assert (episode.state, episode.step, both.posts) == (State.HELD, Step.ADS, (1, 0))
        assert "may have been submitted meanwhile" in (episode.reason or "")
        assert both.ended() == [("enhance", "done" if status == "Success" else "passed_over")]
        plan, apis = one.context.plan, one.context.apis
        sources, ids = plan.sources.values(), [episode.id]
        both.decide(
            decisions.approval(
                one.store, sources, ids, None, one.now, lambda it: plan.targets(it, apis)
            )
        )
        both.run()
        assert (one.episode().state, both.posts) == (State.READY, (1, 1))


def test_a_file_is_looked_for_by_feed_and_number_of_its_episode_at_the_post(
    both: Piped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, places = both.world, [tmp_path / "claims"]
    one.feeds.publish(2)
    one.context.journal = Journal(places)
    both.api.next_state = {"status": "Running"}
    both.run(1)
    posted = one.episode("guid-2")
    # The database is lost. The new one numbers its episodes as it comes upon them.
    one.end()
    asked: list[Task] = []

    def poll(_helper: Helper, task: Task, _media_id: str) -> Progress:
        asked.append(task)
        return original(_helper, task, _media_id)

    original = Helper.poll
    monkeypatch.setattr(Helper, "poll", poll)
    again, stack = World(tmp_path / "new.db", one.sandbox, one.feeds), ExitStack()
    try:
        found = Piped(again, both.api)
        stack.enter_context(closing(found))
        found.configure("enhance,ads")
        again.now = one.now
        again.context.journal = Journal(places, "x")
        again.submissions.recover()
        one.feeds.publish(2, 1)
        again.check()
        episode = again.episode("guid-2")
        assert (episode.state, episode.media_id) == (State.PROCESSING, posted.media_id)
        assert episode.id != posted.id
        again.later(minutes=1)
        again.poll()
        assert {(task.feed, task.episode_id) for task in asked} == {("show", posted.id)}
        (claim,) = [it for it in Journal(places).read() if it.media_id == posted.media_id]
        assert claim.posted_for == posted.id
    finally:
        stack.close()
        again.end()
        again.store.close()


@pytest.mark.parametrize(
    ("state", "verbs"),
    [
        (State.HELD, ("approve", "skip", "skip --step")),
        (State.UNKNOWN, ("adopt", "retry", "skip --step", "skip")),
        (State.FAILED, ("retry", "skip --step")),
    ],
)
def test_a_hint_names_step_and_api_and_all_that_can_be_done(
    both: Piped, state: State, verbs: tuple[str, ...]
) -> None:
    both.world.check()
    one = replace(both.world.episode(), state=state)
    course = both.world.context.plan.course(one)
    for said in (_hint(one, course), _hint(replace(one, cause=Cause.LOST), course)):
        assert said is not None
        assert "step enhance" in said
        assert [verb for verb in verbs if f"feedwatch {verb} {one.id}" not in said] == []
    assert "--step" not in (_hint(one) or ""), "it may be the last"
    assert "enhance" not in (_hint(replace(one, step=Step.ADS)) or "")


def test_a_trouble_names_the_step_and_the_api_of_the_newest(both: Piped) -> None:
    both.api.forgets = True
    both.run(1)
    (waiting,) = both.world.store.statistics.waiting(both.world.now)
    (trouble,) = current_troubles([], {}, [waiting])
    assert "look for it at mediaapis, for its step enhance" in trouble.text
    assert "`feedwatch skip --step 1`" in trouble.text


def test_log_lines_name_step_and_api_where_the_plan_has_several(
    both: Piped, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    both.api.is_down = True
    both.run(1)
    assert "submissions to mediaapis paused, queued episodes will wait" in caplog.text
    both.api.is_down = False
    both.world.later(hours=1)
    both.run()
    assert "'Episode 1' at enhance: accepted as media id" in caplog.text
    assert "'Episode 1' at ads: processing → ready" in caplog.text
    caplog.clear()
    both.configure("ads")
    both.world.feeds.publish(1, 2)
    both.world.later(hours=1)
    both.run()
    assert "'Episode 2': processing → ready" in caplog.text
