"""Made-up items, and a memory of episodes as the store keeps it, for tests of the pure parts."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from feedwatch.core.admission import Decision, Verdict, decide
from feedwatch.core.episode import KnownEpisode, State
from feedwatch.core.feed import Feed, Item
from feedwatch.core.identity import Key, keys_of, title_key
from feedwatch.core.match_items import edited, match_items
from feedwatch.core.settings import FirstRun, Rules

FIRST_DAY = datetime(2026, 1, 1, 6, 30, tzinfo=UTC)
NOW = FIRST_DAY + timedelta(days=365)
BEGUN = Feed(name="show", url="https://h.example/feed", baseline_at=FIRST_DAY)


def item(number: int, **values: object) -> Item:
    """An episode; all about it follows from its number unless given."""
    plain = Item(
        guid=f"guid-{number}",
        title=f"Episode {number}",
        description="",
        enclosure_url=f"https://m.example/{number}.mp3",
        published_at=FIRST_DAY + timedelta(days=number),
        duration=1000 + 7 * number,
    )
    return replace(plain, **values)  # type: ignore[arg-type]


class Memory:
    """What a feed's episodes are known by, and what its last document showed."""

    def __init__(self, rules: Rules | None = None, *, begun: bool = True) -> None:
        self.rules = rules or Rules(first_run=FirstRun(everything=True), flood_limit=99)
        self.feed = BEGUN if begun else replace(BEGUN, baseline_at=None)
        self.episodes: dict[int, KnownEpisode] = {}
        self.keys: dict[Key, int] = {}

    def look(self, *items: Item) -> list[Decision]:
        """What would become of the items of a document."""
        known = {key: self.episodes[one] for key, one in self.keys.items()}
        all_keys = keys_of(items)
        mine = {key: known[key] for keys in all_keys for key in keys if key in known}
        same_title: dict[str, list[KnownEpisode]] = {}
        same_date: dict[datetime, list[KnownEpisode]] = {}
        for one in self.episodes.values():
            same_title.setdefault(one.title_key, []).append(one)
            if one.published_at is not None:
                same_date.setdefault(one.published_at, []).append(one)
        shown = self.feed.item_count
        found = match_items(items, all_keys, mine, same_title, same_date, shown_before=shown)
        return decide(found, self.feed, self.rules, NOW)

    def take(self, *items: Item) -> list[Decision]:
        """Decide, and remember the outcome."""
        decisions = self.look(*items)
        owners = [
            place if one.match.duplicate_of is None else one.match.duplicate_of
            for place, one in enumerate(decisions)
        ]
        ids: dict[int, int] = {}
        for place, one in enumerate(decisions):
            if one.verdict is Verdict.KNOWN and one.match.known is not None:
                ids[place] = one.match.known.id
                changed = edited(one.match)
                if changed is not None:
                    self.episodes[ids[place]] = changed
            elif one.is_episode and one.verdict is not Verdict.KNOWN:
                ids[place] = len(self.episodes) + 1
                self.episodes[ids[place]] = KnownEpisode(
                    id=ids[place],
                    title_key=title_key(one.item.title),
                    enclosure_url=one.item.enclosure_url or "",
                    published_at=one.item.published_at,
                    duration=one.item.duration,
                    state=State.HELD if one.verdict is Verdict.HOLD else State.READY,
                    guid=one.item.guid,
                    title=one.item.title,
                )
        for place, one in enumerate(decisions):
            for key in one.match.keys:
                assert key not in self.keys, "a key would lead to two episodes"
                self.keys[key] = ids[owners[place]]
        shown = sum(one.is_episode for one in decisions)
        self.feed = replace(self.feed, item_count=shown, baseline_at=FIRST_DAY)
        return decisions


def verdicts(decisions: Sequence[Decision]) -> list[Verdict]:
    """Only the words."""
    return [decision.verdict for decision in decisions]
