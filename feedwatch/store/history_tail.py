"""The history's end: which entries are new since the last look at it, each of them once.

An entry gets its id before its transaction commits. So with PostgreSQL, where several write at
once, one may come to light behind others that have greater ids. Hence the ids that were seen are
remembered, and those below them looked for again, for as long as a transaction can last.
"""

from collections import deque
from dataclasses import dataclass, replace

from feedwatch.core.episode import Event
from feedwatch.store.listings import Listings

LONGEST = 600.0  # seconds of a transaction: its statements end after 60, its pauses after 30


@dataclass(frozen=True, kw_only=True)
class NewEvents:
    """What a look has found, the oldest first."""

    events: list[Event]
    is_replaced: bool  # another database, or an older copy, is where the one was


class HistoryTail:
    """Which entries were seen; what is there at first is. Times are seconds of a steady clock."""

    def __init__(self, listings: Listings, now: float) -> None:
        self._end = listings.history_end()
        self._lasts = deque([(now, self._end.last)])

    def knows(self, event: Event) -> bool:
        """Whether an event was there at the last look."""
        return event.id <= self._end.floor or event.id in self._end.ids

    def look(self, listings: Listings, now: float, feed: str | None = None) -> NewEvents:
        """The events since the last look, of all feeds or of one. Raises `StoreError`."""
        before, end = self._end, listings.history_end(self._end)
        is_replaced = end.is_other and end is not before
        new = end.ids if is_replaced else end.ids - before.ids
        events = listings.events(above=min(new) - 1, feed=feed)[::-1] if new else []
        found = [one for one in events if one.id in new]
        if is_replaced and before.last_at is not None:  # an older copy has what was seen before
            found = [one for one in found if one.entry.at > before.last_at]
        if is_replaced:
            self._lasts.clear()
        if end is not before:
            self._end = end
            self._lasts.append((now, end.last))
        while self._lasts and now - self._lasts[0][0] > LONGEST:
            _, floor = self._lasts.popleft()  # nothing below can come to light any more
            ids = frozenset(one for one in self._end.ids if one > floor)
            self._end = replace(self._end, floor=floor, ids=ids)
        return NewEvents(events=found, is_replaced=is_replaced)
