"""Several steps in a row: each is paid for once, and what one API does leaves the other at work."""

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from feedwatch.config.values import pipeline
from feedwatch.core import episode_lifecycle
from feedwatch.core.episode import State
from feedwatch.core.job import Later
from feedwatch.core.ledger import Outcome
from feedwatch.core.pipeline import Pipeline, Step, StepOutcome, course_of, step_to_claim
from feedwatch.net.client import Cancellation, client
from feedwatch.processors import INLET
from feedwatch.store.journal import Journal
from feedwatch.watcher import decisions
from feedwatch.watcher.context import Plan
from feedwatch.watcher.errors import RequestError
from feedwatch.watcher.pauses import set_paused
from feedwatch.watcher.repetitions import passing_over, repetition
from tests.helper_api import Helper, HelperApi, Job
from tests.support import PODCAST, item
from tests.test_store import NOW, new_episode
from tests.world import World, world

BOTH, ALL = pipeline("enhance,ads"), pipeline("diagnose,enhance,ads")


class Piped:
    """A world whose feed has helper steps."""

    def __init__(self, one: World, api: HelperApi) -> None:
        self.world, self.api = one, api
        self._http = client(Cancellation(), base_url=api.url)
        self._helper = Helper(self._http)
        self.attach()

    def close(self) -> None:
        """Close the second processor's connections."""
        self._http.close()

    def attach(self) -> None:
        """Let the process have the second processor."""
        context = self.world.context
        context.processors = {**context.processors, self._helper.name: self._helper}

    def configure(self, steps: str | Pipeline) -> None:
        """Give the feed another pipeline."""
        one = self.world
        made = pipeline(steps) if isinstance(steps, str) else steps
        one.sources = [replace(source, pipeline=made) for source in one.sources]
        sources = {source.name: source for source in one.sources}
        one.context.plan = replace(one.context.plan, sources=sources)

    def run(self, rounds: int = 4) -> None:
        """Check, submit and poll, until nothing moves any more."""
        self.world.check()
        for _ in range(rounds):
            self.world.submit()
            self.world.later(minutes=1)
            self.world.poll()

    def decide(self, proposal: decisions.Proposal) -> None:
        assert decisions.carry_out(self.world.store, proposal, "test", self.world.now) == []

    def ended(self, guid: str = "guid-1") -> list[tuple[str, str]]:
        """The steps of an episode that have ended, and how."""
        found = self.world.store.episodes.ended_steps(self.world.episode(guid).id)
        return [(one.step.value, one.outcome.value) for one in found]

    @property
    def posts(self) -> tuple[int, int]:
        """How many POSTs have reached each of the two APIs."""
        return self.api.posts, len(self.world.sandbox.submissions)


@contextmanager
def piped(path: Path, steps: str, **policy: object) -> Iterator[Piped]:
    with world(path / "a.db", **policy) as one, HelperApi() as api:
        found = Piped(one, api)
        found.configure(steps)
        one.feeds.publish(1)
        with closing(found):
            yield found


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Piped]:
    with piped(tmp_path, "enhance,ads") as found:
        yield found


def test_each_step_is_given_what_the_one_before_has_made(tmp_path: Path) -> None:
    with piped(tmp_path, "diagnose,enhance,ads") as one:
        one.run(6)
        episode = one.world.episode()
        assert episode.state is State.READY
        assert one.ended() == [("diagnose", "done"), ("enhance", "done"), ("ads", "done")]
        diagnosed, enhanced = one.api.jobs
        assert diagnosed.task["url"] == enhanced.task["url"] == episode.enclosure_url
        assert diagnosed.task["target"] == f"diagnose:{PODCAST}"
        (sent,) = one.world.sandbox.taken
        assert sent["url"] == "https://out.example/enhance/job-2.mp3"
        ended = one.world.store.episodes.ended_steps(episode.id)
        assert [step.result for step in ended] == [{"quality_score": 7}, None, None]
        assert ended[1].url == sent["url"]
        assert ended[2].url == episode.processed_url
        steps = [entry.step for entry in one.world.store.episodes.history(episode.id)]
        assert steps == sorted(steps, key=[*Step].index)
        assert one.posts == (2, 1)


def test_what_a_post_needs_is_fetched_before_its_claim_and_only_for_a_post(
    both: Piped, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def fails(helper: Helper) -> Later:
        asked.append(helper.name)
        return Later("no token", sent=False)

    both.world.check()
    monkeypatch.setattr(Helper, "prepare", fails)
    both.world.submit()
    assert (asked, both.posts) == (["mediaapis"], (0, 0))
    assert both.world.episode().state is State.QUEUED
    assert both.world.store.breakers.get("mediaapis").reason == "no token"
    assert both.world.store.breakers.get("inlet").reason is None
    monkeypatch.undo()
    both.run()
    assert both.posts == (1, 1)
    monkeypatch.setattr(Helper, "prepare", fails)
    both.world.submit()
    assert asked == ["mediaapis"], "nothing is queued"


def test_a_token_that_is_broken_off_at_the_end_proves_nothing(
    both: Piped, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(_helper: Helper) -> Later:
        both.world.context.stopping.set()
        return Later("broken off", sent=False)

    both.world.check()
    monkeypatch.setattr(Helper, "prepare", stopped)
    both.world.submit()
    assert both.world.store.breakers.get("mediaapis").reason is None


def test_a_crash_after_a_step_repeats_nothing_that_was_paid(both: Piped) -> None:
    both.world.check()
    for _ in range(5):
        both.world.submit()
        both.world.restart()
        both.attach()
        both.world.submissions.recover()
        both.world.later(minutes=1)
        both.world.poll()
    assert both.world.episode().state is State.READY
    assert both.posts == (1, 1)


def test_an_api_that_is_down_leaves_the_other_at_work(both: Piped) -> None:
    one = both.world
    one.sources = [*one.sources, one.source("other", "/other.xml")]
    one.restart()
    both.attach()
    one.feeds.publish(2, path="/other.xml")
    both.api.is_down = True
    both.run()
    assert one.states() == {"guid-1": State.QUEUED, "guid-2": State.READY}
    assert one.store.breakers.get("mediaapis").tripped_until is not None
    assert one.store.breakers.get(INLET).tripped_until is None
    both.api.is_down = False
    one.later(hours=1)
    both.run()
    assert one.states() == {"guid-1": State.READY, "guid-2": State.READY}


def test_limits_and_pauses_are_each_apis_own(both: Piped) -> None:
    one = both.world
    one.feeds.publish(3, 2, 1)
    tight = replace(one.policy, max_concurrent_jobs=1)
    one.context.plan = replace(one.context.plan, policies={"mediaapis": tight})
    one.check()
    one.submit()
    assert both.posts == (1, 0)
    set_paused(one.store, [INLET], one.sources, None, one.now, "test", paused=True)
    one.later(minutes=1)
    one.poll()
    one.submit()
    assert both.posts == (2, 0), "paused is Inlet alone"
    set_paused(one.store, [INLET], one.sources, None, one.now, "test", paused=False)
    one.submit()
    assert both.posts == (2, 1)


def test_what_is_in_doubt_never_goes_on_by_itself_and_is_adopted_for_its_step(
    tmp_path: Path,
) -> None:
    with piped(tmp_path, "enhance?,ads") as one:
        one.api.forgets = True
        one.run()
        episode = one.world.episode()
        assert (episode.state, episode.step, one.posts) == (State.UNKNOWN, Step.ENHANCE, (1, 0))
        one.decide(
            decisions.adoption(
                one.world.store,
                one.world.context.plan,
                one.world.context.processors,
                episode.id,
                "job-1",
                one.world.now,
            )
        )
        one.api.forgets = False
        one.run()
        assert one.world.episode().state is State.READY
        assert one.posts == (1, 1)


@pytest.mark.parametrize("how", ["refused", "failed", "overdue", "lost"])
def test_an_optional_step_that_fails_is_passed_over(tmp_path: Path, how: str) -> None:
    with piped(tmp_path, "enhance?,ads") as one:
        one.api.refuses = lambda _: how == "refused"
        one.api.next_state = {"status": "Failed" if how == "failed" else "Running"}
        one.world.check()
        one.world.submit()
        if how == "lost":
            one.api.jobs.clear()
        for _ in range(6):
            one.world.later(hours=5)
            one.world.poll()
            one.world.submit()
        one.world.later(hours=1)
        one.world.poll()
        episode = one.world.episode()
        assert episode.state is State.READY, episode
        assert one.ended() == [("enhance", "passed_over"), ("ads", "done")]
        assert one.world.sandbox.taken[0]["url"] == episode.enclosure_url
        assert one.posts == (1, 1)


def test_a_step_that_fails_is_repeated_alone_and_what_is_paid_is_kept(both: Piped) -> None:
    both.api.next_state = {"status": "Failed"}
    both.run(2)
    one = both.world
    assert (one.episode().state, both.ended()) == (State.FAILED, [("enhance", "failed")])
    both.api.next_state = {"status": "Success"}
    retry(both)
    both.run()
    assert one.episode().state is State.READY
    assert both.ended() == [("enhance", "failed"), ("enhance", "done"), ("ads", "done")]
    assert both.posts == (2, 1)


def retry(one: Piped) -> None:
    loops = one.world
    plan, processors = loops.context.plan, loops.context.processors
    targets_of = lambda episode: plan.targets(episode, loops.context.apis)  # noqa: E731
    ids = [loops.episode().id]
    one.decide(decisions.retrial(loops.store, plan, processors, ids, None, loops.now, targets_of))


def test_a_failed_step_that_turns_out_to_be_done_goes_on_unpaid(both: Piped) -> None:
    both.api.next_state = {"status": "Failed"}
    both.run(2)
    both.api.jobs[0].state = {"status": "Success"}
    retry(both)
    assert both.world.episode().step is Step.ADS
    assert both.ended() == [("enhance", "done")], "the row of the job that had failed"
    both.run()
    assert both.world.episode().state is State.READY
    assert both.posts == (1, 1)


def test_a_failed_step_that_mends_itself_goes_on(both: Piped) -> None:
    both.api.next_state = {"status": "Running"}
    both.run(2)
    both.api.jobs.clear()
    for _ in range(5):
        both.world.later(minutes=40)
        both.world.poll()
    assert both.world.episode().state is State.FAILED
    both.api.jobs = [Job(id="job-1", task={"step": "enhance"})]
    both.world.later(hours=2)
    both.world.poll()
    assert both.world.episode().step is Step.ADS
    assert both.ended() == [("enhance", "done")]


def test_a_step_is_passed_over_by_a_person_and_the_next_has_its_input(both: Piped) -> None:
    one = both.world
    both.api.forgets = True
    both.run(2)
    assert one.episode().state is State.UNKNOWN
    proposal = passing_over(one.store, one.context.plan, [one.episode().id], one.now)
    assert proposal.costs
    both.decide(proposal)
    both.run()
    assert one.episode().state is State.READY
    assert both.ended() == [("enhance", "passed_over"), ("ads", "done")]
    assert one.sandbox.taken[0]["url"] == one.episode().enclosure_url
    with pytest.raises(RequestError, match="is ready"):
        passing_over(one.store, one.context.plan, [one.episode().id], one.now)


def test_a_late_answer_to_a_step_that_was_passed_over_moves_nothing(both: Piped) -> None:
    one = both.world
    one.check()
    claimed = one.submissions._claim(one.context.processors["mediaapis"])
    assert claimed is not None
    one.later(minutes=4)
    one.submissions.recover()
    assert one.episode().state is State.UNKNOWN
    both.decide(passing_over(one.store, one.context.plan, [one.episode().id], one.now))
    before = one.episode()
    one.submissions._submit(*claimed)
    assert one.episode() == before


@pytest.mark.parametrize(
    ("start", "posts", "names"),
    [
        (None, (1, 2), "ads"),
        (Step.ADS, (1, 2), "ads"),
        (Step.ENHANCE, (2, 2), "enhance, ads"),
    ],
)
def test_from_a_step_on_it_is_paid_again_and_that_is_said(
    both: Piped, start: Step | None, posts: tuple[int, int], names: str
) -> None:
    one = both.world
    both.run()
    processed, enhanced = one.episode().processed_url, one.sandbox.taken[0]["url"]
    plan, apis = one.context.plan, one.context.apis
    ids, now = [one.episode().id], one.now
    proposal = repetition(one.store, plan, ids, now, lambda e: plan.targets(e, apis), start)
    if start is not None:
        assert f"{names} will be paid for; paid for already: {names}" in " ".join(proposal.warnings)
    both.decide(proposal)
    assert one.episode().processed_url == processed, "until the new job is done"
    both.run()
    assert (one.episode().state, both.posts) == (State.READY, posts)
    again = one.sandbox.taken[1]["url"]
    assert again == (enhanced if start is not Step.ENHANCE else url_of_last(both))


def url_of_last(one: Piped) -> str:
    return f"https://out.example/enhance/{one.api.jobs[-1].id}.mp3"


def test_a_step_that_is_not_in_the_pipeline_or_was_not_reached_is_refused(both: Piped) -> None:
    one = both.world
    both.api.next_state = {"status": "Failed"}
    both.run(2)
    plan, apis, ids = one.context.plan, one.context.apis, [one.episode().id]
    for step, why in ((Step.DIAGNOSE, "no diagnose in it"), (Step.ADS, "has not come to")):
        with pytest.raises(RequestError, match=why):
            repetition(one.store, plan, ids, one.now, lambda e: plan.targets(e, apis), step)


def test_one_show_under_two_feeds_is_enhanced_once(both: Piped) -> None:
    one = both.world
    both.run()
    one.sources.append(one.source("mirror", "/mirror.xml"))
    one.restart()
    both.attach()
    both.configure("enhance,ads")
    one.feeds.publish(1, path="/mirror.xml")
    both.run()
    states = {episode.feed: episode.state for episode in one.store.episodes.find()}
    assert states == {"show": State.READY, "mirror": State.SKIPPED}
    assert both.posts == (1, 1)


def test_the_address_follows_the_feed_until_the_first_step_was_posted(both: Piped) -> None:
    one = both.world
    both.run(1)
    episode = one.episode()
    assert (episode.step, episode.state) == (Step.ADS, State.QUEUED)
    one.feeds.publish(item(1, title="Corrected", url="https://media.example.org/new/1.mp3"))
    one.later(hours=1)
    one.check()
    after = one.episode()
    assert after.title == "Corrected"
    assert after.enclosure_url == episode.enclosure_url
    assert after.source_url == url_of_last(both)


def test_a_changed_pipeline_holds_for_what_was_not_begun_and_keeps_what_is_paid(
    both: Piped,
) -> None:
    one = both.world
    one.feeds.publish(2, 1)
    one.check()
    both.configure("ads")
    one.submit()
    assert {job.step for job in one.store.episodes.find(states=[State.PROCESSING])} == {Step.ADS}
    assert both.posts == (0, 2)


def test_a_pipeline_with_nothing_left_makes_what_there_is_ready(both: Piped) -> None:
    one = both.world
    both.run(1)
    both.configure("enhance")
    one.submit()
    episode = one.episode()
    assert (episode.state, episode.processed_url) == (State.READY, url_of_last(both))
    assert both.posts == (1, 0)


def test_a_feed_that_the_config_lacks_goes_on_once_it_is_back(both: Piped) -> None:
    one = both.world
    one.check()
    one.submit()
    plan = one.context.plan
    one.context.plan = Plan(sources={}, policy=plan.policy)
    one.later(minutes=1)
    one.poll()
    assert (one.episode().state, one.episode().step) == (State.QUEUED, Step.ADS)
    one.context.plan = plan
    both.run()
    assert both.posts == (1, 1)


def test_without_its_processor_a_step_waits_and_its_jobs_are_polled_later(both: Piped) -> None:
    one = both.world
    one.check()
    one.submit()
    one.context.processors = {INLET: one.context.processors[INLET]}
    one.later(minutes=1)
    one.poll()
    assert "no mediaapis any more" in (one.episode().reason or "")
    both.attach()
    one.later(minutes=20)
    both.run()
    assert one.episode().state is State.READY


@pytest.mark.parametrize("was", [State.QUEUED, State.SUBMITTING, State.PROCESSING])
def test_a_restored_database_takes_over_the_step_that_was_paid_last(
    tmp_path: Path, was: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = Helper.submit

    def copy() -> None:
        assert (loops.episode().state, loops.episode().step) == (was, Step.ENHANCE)
        with closing(sqlite3.connect(tmp_path / "a.db")) as db:
            db.execute("VACUUM INTO ?", (str(tmp_path / "copy.db"),))

    def submitted(*arguments: Any) -> Any:
        copy()
        return submit(*arguments)

    with piped(tmp_path, "enhance,ads") as one:
        loops = one.world
        loops.context.journal = Journal([tmp_path / "claims"], loops.store.claims.database_id().id)
        loops.submissions.recover()
        loops.check()
        if was is State.SUBMITTING:
            monkeypatch.setattr(Helper, "submit", submitted)
        else:
            for _ in range(was is State.PROCESSING):
                loops.submit()
            copy()
        one.run()
        assert loops.episode().state is State.READY
        loops.end()
        loops.store.close()
        (tmp_path / "copy.db").rename(tmp_path / "a.db")
        for suffix in ("-wal", "-shm"):
            (tmp_path / f"a.db{suffix}").unlink(missing_ok=True)
        again, stack = World(tmp_path / "a.db", loops.sandbox, loops.feeds), ExitStack()
        try:
            found = Piped(again, one.api)
            stack.enter_context(closing(found))
            found.configure("enhance,ads")
            again.now = loops.now
            again.context.journal = Journal([tmp_path / "claims"], "x")
            again.submissions.recover()
            episode = again.episode()
            assert (episode.state, episode.step) == (State.PROCESSING, Step.ADS)
            found.run()
            assert again.episode().state is State.READY
            assert found.posts == (1, 1)
            jobs = [(one.step.value, one.media_id) for one in again.store.claims.latest(9)]
            assert jobs == [("enhance", "job-1"), ("ads", *loops.sandbox.jobs)]
        finally:
            stack.close()
            again.end()
            again.store.close()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "steps with commas"),
        ("enhance,transcode", "diagnose, enhance, ads"),
        ("ads,enhance", "in this order"),
        ("enhance,enhance,ads", "at most once"),
        ("enhance,ads?", "may not fail"),
        ("enhance?", "may not fail"),
        ("diagnose", "makes a media file"),
    ],
)
def test_a_pipeline_that_makes_no_sense_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        pipeline(text)


def test_what_a_person_repeats_begins_with_no_step_that_a_later_config_puts_before_it() -> None:
    """That step may be paid for already, and nobody asked for it."""
    ready = replace(new_episode(1), state=State.READY, step=Step.ADS, media_id="m", claim=1)
    queued = episode_lifecycle.sent_again(ready, NOW, start=Step.ADS)
    for later in (ALL, pipeline("enhance?,ads"), pipeline("ads")):
        assert episode_lifecycle.placed(queued, later, NOW) == queued


def test_what_comes_next_follows_from_the_config_of_now() -> None:
    assert course_of(ALL, Step.DIAGNOSE).following is Step.ENHANCE
    assert course_of(BOTH, Step.DIAGNOSE).following is Step.ENHANCE, (
        "though it is not in it any more"
    )
    assert course_of(ALL, Step.ADS).following is None
    assert not course_of(pipeline("enhance?,ads"), Step.ADS).optional
    assert course_of(pipeline("enhance?,ads"), Step.ENHANCE).optional
    assert step_to_claim(ALL, Step.ADS, None) is Step.DIAGNOSE
    assert step_to_claim(ALL, Step.ADS, "https://x") is Step.ADS
    assert step_to_claim(pipeline("ads"), Step.ENHANCE, "https://x") is Step.ADS
    assert step_to_claim(pipeline("enhance"), Step.ADS, "https://x") is None


def test_the_ledger_has_a_claim_for_each_step(both: Piped) -> None:
    both.run()
    claims = both.world.store.claims.latest(9)
    assert [(one.step, one.target.processor, one.outcome) for one in claims] == [
        (Step.ENHANCE, "mediaapis", Outcome.ACCEPTED),
        (Step.ADS, "inlet", Outcome.ACCEPTED),
    ]
    ended = both.world.store.episodes.ended_steps(1)
    assert [one.claim for one in ended] == [one.number for one in claims]
    assert {one.outcome for one in ended} == {StepOutcome.DONE}


def mirrored(both: Piped, steps: str) -> None:
    """A second feed of the same show, with a pipeline of its own."""
    one = both.world
    other = replace(one.source("mirror", "/mirror.xml"), pipeline=pipeline(steps))
    one.sources.append(other)
    one.restart()
    both.attach()
    one.feeds.publish(1, path="/mirror.xml")


def test_no_helper_step_is_paid_for_where_another_feed_has_paid_for_what_follows(
    both: Piped,
) -> None:
    both.configure("ads")
    both.run()
    assert both.posts == (0, 1)
    mirrored(both, "enhance,ads")
    both.run()
    states = {episode.feed: episode.state for episode in both.world.store.episodes.find()}
    assert states == {"show": State.READY, "mirror": State.SKIPPED}
    assert both.posts == (0, 1)
    (other,) = both.world.store.episodes.find(feed="mirror")
    assert (other.step, (other.reason or "")[:42]) == (
        Step.ENHANCE,
        "ads: already submitted as episode 1 of fee",
    )
    plan, apis = both.world.context.plan, both.world.context.apis
    proposal = decisions.retrial(
        both.world.store,
        plan,
        {},
        [other.id],
        None,
        both.world.now,
        lambda e: plan.targets(e, apis),
    )
    assert "already submitted as episode 1 of feed show" in proposal.warnings[0]
    both.decide(proposal)
    both.run()
    (other,) = both.world.store.episodes.find(feed="mirror")
    assert (other.step, other.state) == (Step.ADS, State.SKIPPED), "each step is asked about"
    assert both.posts == (1, 1)


def test_what_is_paid_for_while_a_helper_step_is_under_way_is_not_paid_for_again(
    both: Piped,
) -> None:
    both.api.next_state = {"status": "Running"}
    both.run(1)
    mirrored(both, "ads")
    both.world.check()
    both.world.submit()
    assert both.posts == (1, 1)
    both.api.jobs[0].state = {"status": "Success"}
    both.run()
    states = {episode.feed: episode.state for episode in both.world.store.episodes.find()}
    assert states == {"show": State.SKIPPED, "mirror": State.READY}
    assert both.posts == (1, 1)
