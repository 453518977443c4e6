"""A person's decisions about episodes and submissions, for verbs, page and API alike.

Each function that returns a `Proposal` checks a request and writes nothing, so that the person can
be shown what would happen and be asked. `carry_out` writes, in one transaction, with who decided.
Nothing here prints, asks or ends the process: what cannot be done raises `RequestError`.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from feedwatch.core import episode_lifecycle, job_lifecycle
from feedwatch.core.episode import Episode, State, may_be_taken
from feedwatch.core.feed_lifecycle import may_settle
from feedwatch.core.job import Broken, Lost, Running, Unreachable
from feedwatch.core.ledger import Outcome, Target, is_alike, paid_reason
from feedwatch.core.pipeline import PROCESSOR_OF, EndedStep, StepOutcome
from feedwatch.core.post_deadline import perhaps_under_way
from feedwatch.core.printable import listed
from feedwatch.core.settings import FeedConfig
from feedwatch.core.submit_waits import wait_of
from feedwatch.processors import Processor
from feedwatch.store.journal import existing_journal
from feedwatch.store.store import Store
from feedwatch.watcher.context import Plan
from feedwatch.watcher.errors import RequestError
from feedwatch.watcher.overview import find_episode, find_feed
from feedwatch.watcher.tasks import polled_task

POLLED = (State.PROCESSING, State.FAILED)  # whose jobs may turn out to be done
# What the next POST for an episode is for, and those of its later steps, by the config.
TargetsOf = Callable[[Episode], Sequence[Target]]
MEDIA_ID = re.compile(r"[A-Za-z0-9_-]+")


class Action(StrEnum):
    """What a person may decide about an episode."""

    APPROVE = "approve"
    SKIP = "skip"
    GO_ON = "go_on"  # without the step that it is at
    RETRY = "retry"
    ADOPT = "adopt"


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """State changes that are allowed and not written yet."""

    action: Action
    moves: Sequence[tuple[Episode, Episode]]  # each episode before and after
    # Further ones, whose jobs are done: nothing is paid.
    done: Sequence[tuple[Episode, Episode]] = ()
    feed: str | None = None  # the decision is about all held episodes of this feed
    remarks: Sequence[str] = ()  # what the person should know of it
    ended: Mapping[int, EndedStep] = field(default_factory=dict)  # steps, by the episodes' ids

    @property
    def episodes(self) -> list[Episode]:
        """The episodes as they are now."""
        return [before for before, _ in self.moves]

    @property
    def costs(self) -> bool:
        """Whether it submits episodes, which costs money and publishes them."""
        return self.action in (Action.APPROVE, Action.RETRY, Action.GO_ON)

    @property
    def version(self) -> str:
        """Changes whenever it would be about other episodes, or about others' changes of them."""
        return version_of(self.episodes)

    @property
    def warnings(self) -> list[str]:
        """What the person should weigh before it is carried out."""
        found = list(self.remarks)
        missing = [one.id for one in self.episodes if one.missing_since is not None]
        if missing and self.costs:
            found.append(
                f"{listed('episode', missing)}: the feed no longer has what would be submitted."
            )
        if self.action is not Action.RETRY:
            return found
        if ready := [one.id for one in self.episodes if one.state is State.READY]:
            found.append(
                f"{listed('episode', ready)}: ready already, so paid for and published once more; "
                "what the first job has published is not taken down. Exports and served feeds keep "
                "its processed URL until the new job is done."
            )
        if doubtful := [one.id for one in self.episodes if may_be_taken(one)]:
            found.append(
                f"{listed('episode', doubtful)}: perhaps taken already. Look at the media API "
                "first, or it is paid for and published twice (`feedwatch adopt` is for that)."
            )
        if undescribed := [one.id for one in self.episodes if one.description is None]:
            found.append(
                f"{listed('episode', undescribed)}: skipped at sight, so the feed is read once "
                "more for the description first; what it no longer has is submitted without one."
            )
        return found


def version_of(episodes: Collection[Episode]) -> str:
    """The version of a set of episodes; of a single one, its own."""
    versions = sorted((one.id, one.version) for one in episodes)
    if len(versions) == 1:
        return str(versions[0][1])
    text = ",".join(f"{number}:{version}" for number, version in versions)
    return sha256(text.encode()).hexdigest()[:32]


def is_possible(action: Action, episode: Episode, now: datetime) -> bool:
    """Whether the episode's state allows this decision."""
    try:
        match action:
            case Action.APPROVE:
                episode_lifecycle.approved(episode, now)
            case Action.SKIP:
                episode_lifecycle.skipped(episode)
            case Action.GO_ON:
                return False  # it takes the pipeline to tell
            case Action.RETRY:
                episode_lifecycle.retried(episode, now)
            case Action.ADOPT:
                episode_lifecycle.adopted(episode, "", now)
    except episode_lifecycle.IllegalMoveError:
        return False
    return True


def approval(
    store: Store,
    sources: Collection[FeedConfig],
    ids: Sequence[int],
    feed: str | None,
    now: datetime,
    targets_of: TargetsOf,
) -> Proposal:
    """Submit held episodes: those with these ids or, where a feed is named, all of that feed."""
    episodes = _held(store, sources, ids, feed)
    require_configured(sources, episodes)
    move = episode_lifecycle.approved
    return submitting(Action.APPROVE, store, sources, episodes, move, now, targets_of, feed)


def skipping(
    store: Store, sources: Collection[FeedConfig], ids: Sequence[int], feed: str | None
) -> Proposal:
    """Never submit episodes: those with these ids or, where a feed is named, all its held ones."""
    episodes = _held(store, sources, ids, feed)
    return proposal_of(Action.SKIP, episodes, episode_lifecycle.skipped, feed)


def retrial(
    store: Store,
    plan: Plan,
    processors: Mapping[str, Processor],
    ids: Sequence[int],
    state: State | None,
    now: datetime,
    targets_of: TargetsOf,
) -> Proposal:
    """Submit again episodes: those with these ids or, where a state is given, all in that state.

    Only the step that they are at: what is paid for is kept. The processors, as far as they are
    here, are asked for the jobs that they have: one that is done makes its episode ready, or has it
    go on, in one transaction with the others; one that is under way is polled on, and one that
    cannot be read is left alone. What became of each of these is in `done` and the remarks.
    """
    sources = plan.sources.values()
    episodes = store.episodes.find(states=[state]) if state else by_id(store, ids)
    require_configured(sources, episodes)
    # Before any job is read, as something may be written down.
    decided = [one for one in episodes if one.state is not State.PROCESSING]
    proposal_of(Action.RETRY, decided, partial(episode_lifecycle.retried, now=now))
    done, rest, remarks, ended = [], [], [], dict[int, EndedStep]()
    for episode in episodes:
        found = _after_reading(store, plan, processors, episode, now)
        if isinstance(found, str):
            remarks.append(found)
        elif found is not None and found.ended.outcome is StepOutcome.DONE:
            done.append((episode, found.after))
            ended[episode.id] = found.ended
        else:
            rest.append(episode)
    if remarks and not done and not rest:
        raise RequestError("nothing was done:\n  " + "\n  ".join(remarks))
    move = episode_lifecycle.retried
    proposal = submitting(Action.RETRY, store, sources, rest, move, now, targets_of)
    remarks += proposal.remarks
    if store.path is None:  # of several daemons one may not reach the database
        remarks += filter(None, (perhaps_under_way(one, now) for one in rest))
    return replace(proposal, done=done, ended=ended, remarks=remarks)


def adoption(
    store: Store,
    plan: Plan,
    processors: Mapping[str, Processor],
    episode_id: int,
    media_id: str,
    now: datetime,
) -> Proposal:
    """Record that an unknown submission was taken as the job `media_id`.

    The step's processor, if it is here, is asked whether it knows the job. Where the episode has
    another job already, that one is asked for first: if it is done, it is what counts.
    """
    episode = find_episode(store, episode_id)
    if not MEDIA_ID.fullmatch(media_id):
        raise RequestError(f"{media_id!r} is no media id: letters, digits, - and _")
    owner = store.episodes.by_media_id(media_id)
    if owner is not None and owner.id != episode_id:
        raise RequestError(
            f"the media id {media_id} belongs to episode {owner.id} ({owner.title}) already"
        )
    adopted = partial(episode_lifecycle.adopted, media_id=media_id, now=now)
    proposal = proposal_of(Action.ADOPT, [episode], adopted)
    processor, claim = processors.get(PROCESSOR_OF[episode.step]), store.claims.of(episode)
    ours = {name: one.api for name, one in processors.items()}
    if processor is not None and claim is not None and not is_alike(claim, ours):
        raise RequestError(
            f"nothing was done: episode {episode_id} was submitted to {claim.target.api}, so "
            f"{processor.api} has no job of it"
        )
    found = _after_reading(store, plan, processors, episode, now)
    if isinstance(found, str):
        raise RequestError(f"nothing was done: {found}")
    if found is not None and found.ended.outcome is StepOutcome.DONE:
        done, ended = [(episode, found.after)], {episode.id: found.ended}
        return Proposal(action=Action.ADOPT, moves=[], done=done, ended=ended)
    if processor is None:
        return proposal
    match processor.poll(polled_task(store, episode), media_id):
        case Lost():
            raise RequestError(f"nothing was done: the API knows no job {media_id} of this podcast")
        case Unreachable(reason):
            return replace(proposal, remarks=[f"not checked, {reason}; the next polls will show"])
    return proposal


class _JobEnded(NamedTuple):
    """What has become of an episode, as the reading of its job has ended its step."""

    after: Episode
    ended: EndedStep


def _after_reading(
    store: Store, plan: Plan, processors: Mapping[str, Processor], episode: Episode, now: datetime
) -> _JobEnded | str | None:
    """Read the job of an episode, if it has one: what has ended, or why nothing can be done now."""
    name = PROCESSOR_OF[episode.step]
    processor = processors.get(name)
    if processor is None or episode.media_id is None or episode.state not in POLLED:
        return None
    progress = processor.poll(polled_task(store, episode), episode.media_id)
    # A person decides about this step, so it is not passed over meanwhile.
    policy, course = plan.policy_of(name), plan.course(episode)._replace(optional=False)
    after = job_lifecycle.polled(episode, progress, now, policy, course=course)
    name = f"episode {episode.id}: its job {episode.media_id}"
    match progress:
        case Running(remote_status=status):
            store.episodes.save(episode, after, now)  # it may have been given up
            return f"{name} is under way ({status}), so it is polled on and not submitted again"
        case Unreachable(reason):
            return f"{name} must be read first, and cannot be ({reason})"
        case Broken() if episode.state is State.PROCESSING:
            return f"{name} shows an error that may pass ({after.reason}), so it is polled on"
        case Lost() if episode.state is State.PROCESSING:
            return f"{name} is not found, which may pass ({after.reason}), so it is polled on"
    ended = job_lifecycle.ended_step(episode, after, now, progress)
    return _JobEnded(after, ended) if ended is not None else None


def carry_out(
    store: Store, proposal: Proposal, actor: str, now: datetime, journal: Iterable[Path] = ()
) -> list[int]:
    """Write a proposal in one transaction; the ids of the episodes that changed meanwhile.

    If there are any, nothing is written. Once all held episodes of a feed are decided, the new
    items of its next check are no longer held because the database was restored. `actor` is who
    decided and by which way, as `cli:USER`.

    journal: its places. A job that was found is written there as well: a copy of the database that
        is restored before the next start must not bring the doubt back.
    """
    for before, after in proposal.moves if proposal.action is Action.ADOPT else ():
        claim = store.claims.of(before)
        if claim is not None:  # in doubt until now: it is accepted by the job that was found
            accepted = Outcome.ACCEPTED
            saved = store.claims.settle(claim.token, accepted, before, after, now, actor=actor)
            if saved is not None and claim.outcome in (Outcome.OPEN, Outcome.UNKNOWN):
                existing_journal(journal).append_outcome(claim.token, accepted, after.media_id, now)
            return [] if saved is not None else [before.id]
    moves = [*proposal.moves, *proposal.done]
    return store.episodes.decide(
        moves, now, actor=actor, settled_feed=proposal.feed, ended=proposal.ended
    )


def submitting(
    action: Action,
    store: Store,
    sources: Collection[FeedConfig],
    episodes: Sequence[Episode],
    move: Callable[[Episode, datetime, int | None], Episode],
    now: datetime,
    targets_of: TargetsOf,
    feed: str | None = None,
) -> Proposal:
    """The moves to `queued`, past the claims by which other episodes have paid for these."""
    paid = store.claims.conflicts([(one, targets_of(one)) for one in episodes])
    cleared = {one: max(claim.number for claim, _ in found) for one, found in paid.items() if found}
    proposal = proposal_of(action, episodes, lambda one: move(one, now, cleared.get(one.id)), feed)
    remarks = [
        f"episode {one.id} is paid for and published: {paid_reason(claim, api)}"
        for one in episodes
        for claim, api in paid[one.id]
    ]
    configs = {source.name: source for source in sources}
    for one in episodes:
        wait = wait_of(one.published_at, one.first_seen_at, configs[one.feed], now)
        remarks += [f"episode {one.id} {wait.reason}"] if wait is not None else []
    return replace(proposal, remarks=remarks)


def _held(
    store: Store, sources: Collection[FeedConfig], ids: Sequence[int], feed: str | None
) -> list[Episode]:
    if feed is None:
        return by_id(store, ids)
    name = find_feed(store, sources, feed)
    known = store.feeds.named(name)
    if known is not None and not may_settle(known):
        raise RequestError(
            f"feed {name}: not checked yet since the doubt about it began, so not all that is to "
            "be decided is known; nothing was settled. Try again after its next good check"
        )
    return store.episodes.find(feed=name, states=[State.HELD])


def by_id(store: Store, ids: Sequence[int]) -> list[Episode]:
    """The episodes with these ids. Raises `NotFoundError`."""
    return [find_episode(store, episode_id) for episode_id in dict.fromkeys(ids)]


def require_configured(sources: Collection[FeedConfig], episodes: Sequence[Episode]) -> None:
    """Refuse episodes of a feed that the config no longer has: nothing would ever submit them."""
    gone = sorted({one.feed for one in episodes} - {source.name for source in sources})
    if gone:
        raise RequestError(f"nothing was done: the config has no feed {', '.join(gone)} any more")


def proposal_of(
    action: Action,
    episodes: Sequence[Episode],
    move: Callable[[Episode], Episode],
    feed: str | None = None,
) -> Proposal:
    """All the moves or, if one is not allowed, the error with every reason."""
    moves, objections = [], []
    for episode in episodes:
        try:
            moves.append((episode, move(episode)))
        except episode_lifecycle.IllegalMoveError as error:
            objections.append(str(error))
    if objections:
        raise RequestError("nothing was done:\n  " + "\n  ".join(objections))
    settled_feed = feed.lower() if feed is not None else None
    return Proposal(action=action, moves=moves, feed=settled_feed)
