"""Admission: the rules that give each item of a document its verdict. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Self

from feedwatch.core.episode import FILTERS, Cause, Episode, State
from feedwatch.core.feed import Feed, Item
from feedwatch.core.identity import LONGEST_KEY, guid_key
from feedwatch.core.match_items import ItemMatch, MatchKind
from feedwatch.core.pipeline import Step
from feedwatch.core.printable import counted
from feedwatch.core.schedule import DAY
from feedwatch.core.settings import FirstRun, OnReplaced, Rules, either_key, feed_key, of_feed
from feedwatch.core.submit_waits import believed, disbelief

# Episodes in the document before; of a shorter list, half is soon gone, if not all.
VANISHED_AT_LEAST = 6


class Verdict(StrEnum):
    """Verdict: what becomes of an item, in the words of `feedwatch check`."""

    SUBMIT = "submit"
    HOLD = "hold"
    SKIP = "skip"
    KNOWN = "known"


UNDECIDED_AT_MOST = 5  # titles of one document; each took as long as a pattern may take
DAMAGED = (
    "the document is damaged and had to be repaired, which the last one had not: this may be a "
    "known episode of which too much is illegible"
)
FIRST_RUN = "first run: already there"  # short: of nearly every episode it is kept twice
STATE_OF = {Verdict.SUBMIT: State.QUEUED, Verdict.HOLD: State.HELD, Verdict.SKIP: State.SKIPPED}


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What becomes of one item, and why."""

    match: ItemMatch
    verdict: Verdict
    reason: str
    cause: Cause | None = None  # skipped by a filter, for this fact

    @property
    def is_anew(self) -> bool:
        """Whether it is about a known episode that a filter had skipped, decided anew."""
        return self.match.kind is MatchKind.KNOWN and self.verdict is not Verdict.KNOWN

    @property
    def item(self) -> Item:
        """The item that is decided on."""
        return self.match.item

    def with_item(self, item: Item) -> Self:
        """The same decision on the same item, of which more has been read."""
        return replace(self, match=replace(self.match, item=item))

    @property
    def is_episode(self) -> bool:
        """Whether the item is, or becomes, an episode: without an enclosure it is none."""
        return self.match.kind is not MatchKind.NOTHING


def decide(
    matches: Sequence[ItemMatch],
    feed: Feed,
    rules: Rules,
    now: datetime,
    *,
    unchanged: int = 0,
    repaired: bool = False,
) -> list[Decision]:
    """One decision for each of `matches`, the items of a document of `feed`, in their order.

    Besides these the document has `unchanged` items that are known episodes. `repaired` is whether
    it was damaged.
    """
    titles = _TitleFilters(rules)
    decisions = [_decision(match, feed.name, rules, titles) for match in matches]
    if feed.baseline_at is None:
        decisions, alarm = _first_run(decisions, rules.first_run, now), None
    else:
        alarm = _alarm(decisions, feed, rules, unchanged)
        if repaired and feed.repaired is False and alarm is None:
            alarm = DAMAGED
    for place, decision in enumerate(decisions):
        if decision.verdict is Verdict.SUBMIT:
            published = decision.item.published_at
            if decision.is_anew and _is_of_first_run(decision, feed, rules.first_run):
                decisions[place] = replace(decision, verdict=Verdict.SKIP, reason=FIRST_RUN)
                continue
            # What may have been paid for already is graver than an alarm.
            reason = _doubt(published, feed, now) or _too_old(published, feed, rules.first_run)
            if (reason := reason or alarm) is not None:
                decisions[place] = replace(decision, verdict=Verdict.HOLD, reason=reason)
            elif (remark := disbelief(published, now)) is not None:
                decisions[place] = replace(decision, reason=f"{decision.reason}; {remark}")
    return decisions


def admitted(decision: Decision, feed: str, now: datetime, step: Step = Step.ADS) -> Episode | None:
    """The episode, at its first `step`, that an item becomes by the decision; None if none."""
    item = decision.item
    state = STATE_OF.get(decision.verdict)
    if state is None or item.enclosure_url is None:
        return None
    guid = item.guid
    if guid is not None and len(guid) > LONGEST_KEY:
        guid = guid_key(guid)
    return Episode(
        feed=feed,
        guid=guid,
        title=item.title,
        description=item.description,
        enclosure_url=item.enclosure_url,
        published_at=item.published_at,
        feed_duration=item.duration,
        state=state,
        reason=decision.reason,
        cause=decision.cause,
        filter_fact=_fact(item, decision.cause) if decision.cause is not None else None,
        first_seen_at=now,
        due_at=now if state is State.QUEUED else None,
        step=step,
    )


def _fact(item: Item, cause: Cause) -> str:
    """What a filter has decided by."""
    if cause is Cause.EPISODE_TYPE:
        return item.episode_type
    if cause is Cause.LENGTH:
        return str(item.duration) if item.duration is not None else ""
    return item.title


def _is_to_decide_anew(match: ItemMatch) -> bool:
    """Whether the fact has changed for which a filter had skipped the episode."""
    one = match.known
    if one is None or one.state is not State.SKIPPED or one.cause not in FILTERS:
        return False
    # None: skipped by feedwatch 0.1, which read some titles otherwise than they are read now.
    return one.filter_fact is not None and _fact(match.item, one.cause) != one.filter_fact


def _is_of_first_run(decision: Decision, feed: Feed, policy: FirstRun) -> bool:
    """Whether it was there when the feed was first seen, and the first run would not take it."""
    known, published = decision.match.known, decision.item.published_at
    first_seen = known.first_seen_at if known is not None else None
    if first_seen is None or feed.baseline_at is None or first_seen > feed.baseline_at:
        return False
    return not (policy.everything or policy.latest or policy.is_since(published))


class _TitleFilters:
    """The title filters, for the items of one document.

    A title on which they take too long is left to a person, and so are all that follow once there
    were several: whoever wrote one may have written thousands.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._undecided = 0

    def objection(self, title: str) -> tuple[Verdict, str] | None:
        """What a filter makes of an item with this title, if it does not let it pass."""
        include, exclude = self._rules.include_title, self._rules.exclude_title
        for pattern, wanted, says in (
            (include, True, "does not match"),
            (exclude, False, "matches"),
        ):
            if pattern is None:
                continue
            found = pattern.found_in(title) if self._undecided < UNDECIDED_AT_MOST else None
            if found is None:
                self._undecided += 1
                reason = f"filter: it takes too long to tell whether the title {says} "
                return Verdict.HOLD, reason + repr(pattern.pattern)
            if found is not wanted:
                return Verdict.SKIP, f"filter: the title {says} {pattern.pattern!r}"
        return None


def _decision(match: ItemMatch, feed: str, rules: Rules, titles: _TitleFilters) -> Decision:
    """The verdict on an item by itself, whatever else its document has."""

    def so(verdict: Verdict, reason: str = match.reason, cause: Cause | None = None) -> Decision:
        named = of_feed(reason, feed)
        return Decision(match=match, verdict=verdict, reason=named, cause=cause)

    anew = match.kind is MatchKind.KNOWN and _is_to_decide_anew(match)
    match match.kind:
        case MatchKind.NOTHING:
            return so(Verdict.SKIP)
        case MatchKind.KNOWN | MatchKind.WAITING if not anew:
            return so(Verdict.KNOWN)
        case MatchKind.REPLACED if rules.on_replaced is OnReplaced.IGNORE:
            return so(
                Verdict.KNOWN, f"{match.reason}; ignored by {either_key(feed, 'ON_REPLACED')}"
            )
    if (objection := _objection(match.item, rules)) is not None:
        return so(Verdict.SKIP, *objection)
    if (by_title := titles.objection(match.item.title)) is not None:
        verdict, reason = by_title
        return so(verdict, reason, Cause.TITLE if verdict is Verdict.SKIP else None)
    if anew and match.known is not None and match.known.cause is not None:
        what = match.known.cause.value.replace("_", " ")
        return so(Verdict.SUBMIT, f"decided anew: its {what} has changed, which a filter went by")
    replaced = match.kind is MatchKind.REPLACED and rules.on_replaced is OnReplaced.SUBMIT
    return so(Verdict.SUBMIT if replaced or match.kind is MatchKind.NEW else Verdict.HOLD)


def _objection(item: Item, rules: Rules) -> tuple[str, Cause] | None:
    """Why a filter, but for those of titles, keeps an item out, if one does."""
    if item.episode_type not in rules.episode_types:
        return f"filter: episode type {item.episode_type!r} is not wanted", Cause.EPISODE_TYPE
    if item.duration is not None:
        length = timedelta(seconds=item.duration)
        if rules.min_duration is not None and length < rules.min_duration:
            return f"filter: {length} is shorter than {rules.min_duration}", Cause.LENGTH
        if rules.max_duration is not None and length > rules.max_duration:
            return f"filter: {length} is longer than {rules.max_duration}", Cause.LENGTH
    return None


def _doubt(published: datetime | None, feed: Feed, now: datetime) -> str | None:
    """Why an item may have been submitted already. A date ahead of now proves nothing."""
    until = feed.hold_if_published_before
    if until is None or (published is not None and until < published <= now):
        return None
    return (
        f"published before {until:%Y-%m-%d %H:%M}Z, or at a time that is not stated or to come: "
        "what is known of the feed begins then, so this may have been submitted already"
    )


def _too_old(published: datetime | None, feed: Feed, policy: FirstRun) -> str | None:
    """Why an item that shows up late is not wanted by the first-run policy, which is for ever."""
    if feed.baseline_at is None or published is None:
        return None
    if published >= feed.baseline_at.replace(microsecond=0):  # feeds state whole seconds
        return None
    if policy.everything or policy.is_since(published):
        return None
    return (
        f"dated {published:%Y-%m-%d %H:%M}Z, before this feed was first checked at "
        f"{feed.baseline_at:%Y-%m-%d %H:%M}Z; it is submitted once approved"
    )


def _alarm(decisions: Sequence[Decision], feed: Feed, rules: Rules, unchanged: int) -> str | None:
    """Why nothing new of this document should be submitted before a person has looked, if so."""
    new = sum(decision.verdict is Verdict.SUBMIT for decision in decisions)
    if new > rules.flood_limit:
        key = feed_key(feed.name, "FLOOD_LIMIT")
        return (
            f"flood: {counted(new, 'new item')} in one check, the limit is {rules.flood_limit}; "
            f"`approve` or `skip` decides, and {key} raises the limit"
        )
    before = feed.item_count
    still = unchanged + sum(
        decision.match.kind in (MatchKind.KNOWN, MatchKind.REPLACED) for decision in decisions
    )
    vanished = 2 * still < before and (before >= VANISHED_AT_LEAST or still == 0)
    if new and before > 1 and vanished:
        beside = counted(new, "new item")
        return f"most known items vanished: {still} of {before} left, beside {beside}"
    return None


def _first_run(decisions: Sequence[Decision], policy: FirstRun, now: datetime) -> list[Decision]:
    """First run: of the items that no filter objects to, those that `policy` wants go on."""
    candidates = [one.item for one in decisions if one.verdict in (Verdict.SUBMIT, Verdict.HOLD)]
    if policy.everything:
        return list(decisions)
    if policy.since is not None:
        wanted = [one for one in candidates if policy.is_since(believed(one.published_at, now))]
        reason = f"first run: not published since {policy.since}"
    else:
        # Some feeds list the oldest first, so dates rule; the order in the feed only breaks ties.
        # A date to come, as a pinned item has, does not make the latest episode.
        never, latest = datetime.min.replace(tzinfo=UTC), now + DAY
        dated = {id(item): item.published_at or never for item in candidates}
        candidates.sort(
            key=lambda item: dated[id(item)] if dated[id(item)] <= latest else never, reverse=True
        )
        wanted = candidates[: policy.latest]
        reason = f"first run: not among the latest {policy.latest}" if policy.latest else FIRST_RUN
    unwanted = {id(item) for item in candidates} - {id(item) for item in wanted}
    return [
        replace(one, verdict=Verdict.SKIP, reason=reason) if id(one.item) in unwanted else one
        for one in decisions
    ]
