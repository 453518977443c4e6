"""What becomes of each item of a document: submit, hold, skip, or known already. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from typing import Self

from feedwatch.core.episode import Episode, State
from feedwatch.core.feed import Feed, Item
from feedwatch.core.match_items import ItemMatch, MatchKind
from feedwatch.core.settings import FirstRun, OnReplaced, Rules

VANISHED_AT_LEAST = (
    6  # episodes in the document before; of a shorter list half is soon gone, if not all
)


class Verdict(StrEnum):
    """The words of `check`."""

    SUBMIT = "submit"
    HOLD = "hold"
    SKIP = "skip"
    KNOWN = "known"


STATE_OF = {
    Verdict.SUBMIT: State.QUEUED,
    Verdict.HOLD: State.HELD,
    Verdict.SKIP: State.SKIPPED,
}


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What becomes of one item, and why."""

    match: ItemMatch
    verdict: Verdict
    reason: str

    @property
    def item(self) -> Item:
        """The item."""
        return self.match.item

    def with_item(self, item: Item) -> Self:
        """The same decision on the same item, of which more has been read."""
        return replace(self, match=replace(self.match, item=item))

    @property
    def is_episode(self) -> bool:
        """Whether the item is, or makes, an episode: without an enclosure it is none."""
        return self.match.kind is not MatchKind.NOTHING


def decide(
    match_items: Sequence[ItemMatch], feed: Feed, rules: Rules, *, unchanged: int = 0
) -> list[Decision]:
    """One decision for each item of a document of `feed`, in the document's order.

    Besides these there are `unchanged` items in the document that are known episodes.
    """
    decisions = [_decision(match, rules) for match in match_items]
    if feed.baseline_at is None:
        decisions = _at_first(decisions, rules.first_run)
    alarm = _alarm(decisions, feed, rules, unchanged) if feed.baseline_at is not None else None
    if feed.hold_if_published_before is not None:  # the graver reason goes before the alarm's
        decisions = [_doubted(one, feed.hold_if_published_before) for one in decisions]
    return decisions if alarm is None else _held(decisions, alarm)


def admitted(decision: Decision, feed: str, now: datetime) -> Episode | None:
    """The episode that a decision makes of an item; None if it makes none."""
    item = decision.item
    state = STATE_OF.get(decision.verdict)
    if state is None or item.enclosure_url is None:
        return None
    return Episode(
        feed=feed,
        guid=item.guid,
        title=item.title,
        description=item.description,
        enclosure_url=item.enclosure_url,
        published_at=item.published_at,
        feed_duration=item.duration,
        state=state,
        reason=decision.reason,
        first_seen_at=now,
        due_at=now if state is State.QUEUED else None,
    )


def _decision(match: ItemMatch, rules: Rules) -> Decision:
    def so(verdict: Verdict, reason: str = match.reason) -> Decision:
        return Decision(match=match, verdict=verdict, reason=reason)

    match match.kind:
        case MatchKind.NOTHING:
            return so(Verdict.SKIP)
        case MatchKind.KNOWN | MatchKind.WAITING:
            return so(Verdict.KNOWN)
        case MatchKind.REPLACED if rules.on_replaced is OnReplaced.IGNORE:
            return so(Verdict.KNOWN, f"{match.reason}; FEEDWATCH_ON_REPLACED=ignore")
    if (objection := _objection(match.item, rules)) is not None:
        return so(Verdict.SKIP, objection)
    match match.kind:
        case MatchKind.REPLACED if rules.on_replaced is OnReplaced.SUBMIT:
            return so(Verdict.SUBMIT)
        case MatchKind.NEW:
            return so(Verdict.SUBMIT)
    return so(Verdict.HOLD)


def _objection(item: Item, rules: Rules) -> str | None:
    """Why a filter keeps an item out, if one does."""
    if item.episode_type not in rules.episode_types:
        return f"filter: episode type {item.episode_type!r} is not wanted"
    if rules.include_title is not None and not rules.include_title.search(item.title):
        return f"filter: the title does not match {rules.include_title.pattern!r}"
    if rules.exclude_title is not None and rules.exclude_title.search(item.title):
        return f"filter: the title matches {rules.exclude_title.pattern!r}"
    if item.duration is not None:
        length = timedelta(seconds=item.duration)
        if rules.min_duration is not None and length < rules.min_duration:
            return f"filter: {length} is shorter than {rules.min_duration}"
        if rules.max_duration is not None and length > rules.max_duration:
            return f"filter: {length} is longer than {rules.max_duration}"
    return None


def _alarm(decisions: Sequence[Decision], feed: Feed, rules: Rules, unchanged: int) -> str | None:
    """Why nothing new of this document should be submitted unseen, if so."""
    new = sum(decision.verdict is Verdict.SUBMIT for decision in decisions)
    if new > rules.flood_limit:
        return f"flood: {new} new items in one check, the limit is {rules.flood_limit}"
    still = unchanged + sum(
        decision.match.kind in (MatchKind.KNOWN, MatchKind.REPLACED) for decision in decisions
    )
    vanished = 2 * still < feed.item_count and (feed.item_count >= VANISHED_AT_LEAST or still == 0)
    if new and feed.item_count > 1 and vanished:
        return (
            f"most known items vanished: of {feed.item_count} there are {still}, and {new} are new"
        )
    return None


def _doubted(decision: Decision, until: datetime) -> Decision:
    """Hold what may have been paid for before our memory began; what came later can't have been."""
    published = decision.item.published_at
    if decision.verdict is not Verdict.SUBMIT or (published is not None and published > until):
        return decision
    reason = (
        f"published before {until:%Y-%m-%d %H:%M}Z or at a time not stated: what is known of the "
        "feed begins then, so this may have been submitted already"
    )
    return replace(decision, verdict=Verdict.HOLD, reason=reason)


def _held(decisions: Sequence[Decision], reason: str) -> list[Decision]:
    return [
        replace(decision, verdict=Verdict.HOLD, reason=reason)
        if decision.verdict is Verdict.SUBMIT
        else decision
        for decision in decisions
    ]


def _at_first(decisions: Sequence[Decision], policy: FirstRun) -> list[Decision]:
    """The first-run policy; what no filter objected to competes for the latest places."""
    candidates = [one for one in decisions if one.verdict in (Verdict.SUBMIT, Verdict.HOLD)]
    wanted = _first_wanted([one.item for one in candidates], policy)
    unwanted = {id(one) for one in candidates if id(one.item) not in wanted}
    reason = f"first run: {_described(policy)}"
    return [
        replace(one, verdict=Verdict.SKIP, reason=reason) if id(one) in unwanted else one
        for one in decisions
    ]


def _first_wanted(items: Sequence[Item], policy: FirstRun) -> set[int]:
    """Which of a new feed's items are submitted, by `id` of the object."""
    if policy.everything:
        return {id(item) for item in items}
    if policy.since is not None:
        start = datetime.combine(policy.since, time(), UTC)
        return {id(item) for item in items if item.published_at and item.published_at >= start}
    # Some feeds list the oldest first, so dates rule; the order in the feed only breaks ties.
    never = datetime.min.replace(tzinfo=UTC)
    newest_first = sorted(items, key=lambda item: item.published_at or never, reverse=True)
    return {id(item) for item in newest_first[: policy.latest]}


def _described(policy: FirstRun) -> str:
    if policy.since is not None:
        return f"not published since {policy.since}"
    if policy.latest:
        return f"not among the latest {policy.latest}"
    return "what a feed holds when it is first seen is not submitted"
