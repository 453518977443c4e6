"""Evaluation of a document: what it says, and all that a check has to write down of it. Pure."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from feedwatch.core.admission import Decision, Verdict, admitted
from feedwatch.core.episode import Episode, KnownEpisode
from feedwatch.core.feed import Failed, Item, ParsedFeed
from feedwatch.core.identity import Key, guid_key, title_key
from feedwatch.core.match_items import MatchKind, edited
from feedwatch.core.pipeline import Step
from feedwatch.core.served import KeptDocument
from feedwatch.feeds.scan import ChangedItems
from feedwatch.store.checks import NewEpisode


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What a document says, and what becomes of each of its items that was not seen before."""

    outcome: ParsedFeed | Failed
    decisions: Sequence[Decision] = ()  # one for each item of `outcome`
    changed: ChangedItems | None = None  # these items; None: nothing is remembered of the document
    fixed_address: str | None = None  # at which one episode after another is published
    kept: KeptDocument | None = None  # what listeners are served; None: the feed is not served

    @property
    def item_count(self) -> int:
        """How many items of the document are episodes; of its first page, which is asked for."""
        unchanged = self.changed.unchanged.episodes if self.changed is not None else 0
        first_page = self.decisions[: self._first_page]
        return unchanged + sum(decision.is_episode for decision in first_page)

    @property
    def _first_page(self) -> int:
        """How many of the decisions are about items of the document's first page."""
        paged = self.outcome.paged if isinstance(self.outcome, ParsedFeed) else 0
        return len(self.decisions) - paged

    @property
    def is_nothing_new(self) -> bool:
        """Whether the document has the items that it had, and all of them are remembered."""
        return self.changed is not None and self.changed.is_same

    @property
    def edited(self) -> list[KnownEpisode]:
        """The known episodes that the feed describes in other words than before."""
        found: dict[int, KnownEpisode | None] = {}
        for decision in self.decisions:  # of several items that are one episode the first counts
            if decision.match.known is not None:
                found.setdefault(decision.match.known.id, edited(decision.match))
        return [one for one in found.values() if one is not None]

    @property
    def items(self) -> dict[int, Item]:
        """What the document says of known episodes that wait, by the episodes' ids.

        Of several items that are one episode the one with its guid counts, else the first.
        """
        found: dict[int, tuple[bool, Item]] = {}
        for decision in self.decisions:
            if (known := follower(decision)) is not None:
                item, guid = decision.item, decision.item.guid
                is_own = guid is not None and known.guid in (guid, guid_key(guid))
                if decision.match.borrowed:
                    item = replace(item, enclosure_url=None)
                if known.id not in found or (is_own and not found[known.id][0]):
                    found[known.id] = is_own, item
        return {number: item for number, (_, item) in found.items()}

    def anew(self, feed: str, now: datetime) -> dict[int, Episode]:
        """What new episodes would be in place of those that a filter had skipped, by their ids."""
        found: dict[int, Episode | None] = {}
        for decision in self.decisions:  # of several items that are one episode the first counts
            if decision.match.known is not None:
                episode = admitted(decision, feed, now) if decision.is_anew else None
                found.setdefault(decision.match.known.id, episode)
        return {number: episode for number, episode in found.items() if episode is not None}

    @property
    def shown(self) -> set[int] | None:
        """The known episodes that the document has; None if it is not a good one."""
        outcome = self.outcome
        if isinstance(outcome, Failed) or outcome.repaired or not self.item_count:
            return None
        unchanged = self.changed.unchanged.episode_ids if self.changed is not None else ()
        matches = [decision.match for decision in self.decisions]
        known = {match.known.id for match in matches if match.known is not None}
        return known.union(unchanged, *(match.leads_to for match in matches))

    def admissions(
        self, feed: str, now: datetime, step: Step = Step.ADS
    ) -> tuple[list[NewEpisode], dict[Key, int]]:
        """The new episodes, the oldest first and each at its first `step`; new keys of known ones.

        An item that repeats one further up gives that one its keys.
        """
        keys: dict[int, list[Key]] = defaultdict(list)
        for place, decision in enumerate(self.decisions):
            keys[_first_place(place, decision)] += decision.match.keys
        new: list[NewEpisode] = []
        learned: dict[Key, int] = {}
        for place, decision in enumerate(self.decisions):
            episode = admitted(decision, feed, now, step) if not decision.is_anew else None
            known = decision.match.known
            if episode is not None:
                title = title_key(episode.title)
                if place >= self._first_page:  # no further check will see it
                    episode = replace(episode, missing_since=now)
                new.append(
                    NewEpisode(episode=episode, keys=keys[place], title_key=title, place=place)
                )
            elif known is not None and (decision.verdict is Verdict.KNOWN or decision.is_anew):
                learned |= dict.fromkeys(keys[place], known.id)
        new.sort(key=lambda one: one.episode.published_at or now)
        return new, learned

    def seen_items(self, new: Mapping[int, int]) -> bytes | None:
        """The seen-item cache of the document; `new` has the new episodes' ids by their places.

        An item that may yet become another episode is left out, and so is looked at again.
        """
        if self.changed is None:
            return None
        ids: list[int | None] = []
        for place, decision in enumerate(self.decisions):
            first = _first_place(place, decision)
            match = self.decisions[first].match
            settled = match.known if match.kind is MatchKind.KNOWN else None
            if decision.match.kind is MatchKind.NOTHING:
                ids.append(0)
            else:
                ids.append(new.get(first, settled.id if settled is not None else None))
        return self.changed.cache_with(ids)


def _first_place(place: int, decision: Decision) -> int:
    """The place of the item that this one repeats, else its own."""
    duplicate_of = decision.match.duplicate_of
    return place if duplicate_of is None else duplicate_of


def follower(decision: Decision) -> KnownEpisode | None:
    """The known episode that waits and takes what this item says, if there is one."""
    known = decision.match.known
    is_it = decision.match.kind in (MatchKind.KNOWN, MatchKind.WAITING)
    return known if is_it and known is not None and known.waits else None
