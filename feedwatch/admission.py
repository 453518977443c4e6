"""What becomes of each item of a document: submit, hold, skip, or known already. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum

from feedwatch.identity import keys_of, known_as
from feedwatch.model import Episode, FirstRun, Item, Rules, State


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
    """What becomes of one item, and why. `keys` is empty where the item is no episode at all."""

    item: Item
    keys: tuple[str, ...]
    verdict: Verdict
    reason: str
    known_id: int | None = None  # of the episode that it is known as


def decide(
    items: Sequence[Item], known: Mapping[str, int], rules: Rules, *, first_time: bool
) -> list[Decision]:
    """One decision for each item, in the document's order.

    `known` holds the keys of the feed's episodes; `first_time` says that the first-run policy
    has not been applied to this feed yet.
    """
    decisions = _recognised(items, known, rules)
    new = [decision for decision in decisions if decision.verdict is Verdict.SUBMIT]
    if first_time:
        wanted = _first_wanted([decision.item for decision in new], rules.first_run)
        return [_at_first(decision, wanted, rules.first_run) for decision in decisions]
    if len(new) > rules.flood_limit:
        reason = f"flood: {len(new)} new items in one check, the limit is {rules.flood_limit}"
        return [_held(decision, reason) for decision in decisions]
    return decisions


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
        state=state,
        reason=decision.reason,
        first_seen_at=now,
        due_at=now if state is State.QUEUED else None,
    )


def _recognised(items: Sequence[Item], known: Mapping[str, int], rules: Rules) -> list[Decision]:
    """Known or new, and if new, whether the filters let it through."""
    decisions = []
    met: set[str] = set()  # in this document
    for item, keys in zip(items, keys_of(items), strict=True):
        known_id = known_as(keys, known)
        if not keys:
            verdict, reason = Verdict.SKIP, "no enclosure of a wanted media type"
        elif known_id is not None:
            verdict, reason = Verdict.KNOWN, f"known as episode {known_id}"
        elif met.intersection(keys):
            verdict, reason = Verdict.KNOWN, "the same audio stands further up in this document"
        elif (objection := _objection(item, rules)) is not None:
            verdict, reason = Verdict.SKIP, objection
        else:
            verdict, reason = Verdict.SUBMIT, "new"
        met.update(keys)
        decisions.append(
            Decision(item=item, keys=keys, verdict=verdict, reason=reason, known_id=known_id)
        )
    return decisions


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


def _first_wanted(items: Sequence[Item], policy: FirstRun) -> set[int]:
    """Which of a new feed's items are submitted, as identities (`id`) of the items."""
    if policy.everything:
        return {id(item) for item in items}
    if policy.since is not None:
        start = datetime.combine(policy.since, time(), UTC)
        return {id(item) for item in items if item.published_at and item.published_at >= start}
    # Some feeds list the oldest first, so dates rule; the order in the feed only breaks ties.
    never = datetime.min.replace(tzinfo=UTC)
    newest_first = sorted(items, key=lambda item: item.published_at or never, reverse=True)
    return {id(item) for item in newest_first[: policy.latest]}


def _at_first(decision: Decision, wanted: set[int], policy: FirstRun) -> Decision:
    if decision.verdict is not Verdict.SUBMIT or id(decision.item) in wanted:
        return decision
    return _changed(decision, Verdict.SKIP, f"first run: {_described(policy)}")


def _described(policy: FirstRun) -> str:
    if policy.since is not None:
        return f"not published since {policy.since}"
    if policy.latest:
        return f"not among the latest {policy.latest}"
    return "what a feed holds when it is first seen is not submitted"


def _held(decision: Decision, reason: str) -> Decision:
    if decision.verdict is not Verdict.SUBMIT:
        return decision
    return _changed(decision, Verdict.HOLD, reason)


def _changed(decision: Decision, verdict: Verdict, reason: str) -> Decision:
    return Decision(item=decision.item, keys=decision.keys, verdict=verdict, reason=reason)
