"""The rhythm of a feed as a picture: when its episodes came, and when one is due."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from markupsafe import Markup

from feedwatch.core.episode import State
from feedwatch.core.feed import Feed
from feedwatch.core.printable import counted
from feedwatch.core.rhythm import AHEAD, SPAN, WEEKS, Published, came, gaps, rhythm_in_words
from feedwatch.core.schedule import DAY

WIDTH, HEIGHT, LEFT, TOP = 640, 120, 34, 6
STRIP_HEIGHT = 16
CHECK_WORDS = {"c": "changed", "s": "unchanged", "n": "not modified (304)", "f": "failed"}
# How an episode of each state is drawn: by shape and by colour.
CLASSES = {State.READY: "done", State.HELD: "open", State.UNKNOWN: "open", State.FAILED: "bad"}
KINDS = ("other", "done", "open", "bad")  # in the order in which they are drawn
HOUR_HEIGHT = 5  # pixels; dots that are no further apart touch
# Dots are merged into ever larger cells until they take no more than that: the picture stays
# below 8 kB, however many episodes there are.
CELLS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)  # pixels
MOST_OF_DOTS = 3000  # bytes


def picture(published: Sequence[Published], feed: Feed, now: datetime) -> Markup:
    """The last half year: a dot an episode, by day and by hour of the day (UTC)."""
    begin = now - SPAN
    end = max(now + DAY, min(feed.expected_by or now, now + AHEAD))

    def x(moment: datetime) -> int:
        return LEFT + round((WIDTH - LEFT) * ((moment - begin) / (end - begin)))

    def y(hour: int, minute: int = 0) -> int:
        return TOP + round(HEIGHT * (hour * 60 + minute) / (24 * 60))

    def bands(kind: str, spans: Sequence[tuple[datetime, datetime]]) -> Markup:
        edges = [(x(max(first, begin)), x(min(last, end))) for first, last in spans]
        widths = [(left, max(right - left, 1)) for left, right in edges]
        path = "".join(f"M{left} {TOP}h{wide}v{HEIGHT}h-{wide}z" for left, wide in widths)
        return Markup('<path class="{}" d="{}"/>').format(kind, path) if path else Markup("")

    out = came(published, now)
    skipped = [(day, day + DAY) for day in _skipped_days(feed, begin, end)]
    parts = [bands("frame", [(begin, end)]), bands("skipped-day", skipped)]
    parts.append(bands("gap", [(gap.begin, gap.end) for gap in gaps(out)]))
    if feed.expected_by is not None and feed.expected_by > now:
        parts.append(bands("expected", [(now, feed.expected_by)]))
    parts.append(Markup('<path class="today" d="M{} {}v{}"/>').format(x(now), TOP, HEIGHT))
    for hour in (0, 6, 12, 18):
        label = Markup('<text x="0" y="{}">{:02d}:00</text><path class="line" d="M{} {}H{}"/>')
        parts.append(label.format(y(hour) + 9, hour, LEFT, y(hour), WIDTH))
    shown = [one for one in published if one.at <= end]
    parts += _dots([(x(one.at), y(one.at.hour, one.at.minute), one.state) for one in shown])
    title = rhythm_in_words(published, feed, now)
    return Markup(
        '<svg class="rhythm" role="img" viewBox="0 0 {} {}" aria-labelledby="rt rd">'
        '<title id="rt">{}</title><desc id="rd">{} in {} weeks, by day and by hour</desc>'
        "{}</svg>"
    ).format(
        WIDTH, TOP + HEIGHT + 2, title, counted(len(out), "episode"), WEEKS, Markup("").join(parts)
    )


def _skipped_days(feed: Feed, begin: datetime, end: datetime) -> list[datetime]:
    """The days on which the publisher asks not to be read."""
    if not feed.skip_days:
        return []
    first = begin.replace(hour=0, minute=0, second=0, microsecond=0)
    days = (first + number * DAY for number in range((end - first).days + 1))
    return [day for day in days if feed.skip_days >> day.weekday() & 1]


def _dots(found: Sequence[tuple[int, int, State]]) -> list[Markup]:
    """One path for each shape: a daily show has many dots."""
    by_kind: dict[str, list[tuple[int, int]]] = {}
    for x, y, state in found:
        by_kind.setdefault(CLASSES.get(state, "other"), []).append((x, y))
    most, drawn = MOST_OF_DOTS // max(len(by_kind), 1), []
    for kind in sorted(by_kind, key=KINDS.index):
        tried = (_path(by_kind[kind], cell, is_crossed=kind == "bad") for cell in CELLS)
        path = next((one for one in tried if len(one) <= most), "")
        if kind != "open":
            drawn.append(Markup('<path class="dot {}" d="{}"/>').format(kind, path))
            continue
        # Hollow: the same path once more, thinner.
        drawn.append(Markup('<defs><path id="open-dots" d="{}"/></defs>').format(path))
        shape = Markup('<use class="dot {}" href="#open-dots"/>')
        drawn += [shape.format("open"), shape.format("hole")]
    return drawn


def _path(places: Sequence[tuple[int, int]], cell: int, *, is_crossed: bool) -> str:
    """A shape in each cell that has one; what touches above one another is one stroke."""
    runs: list[tuple[int, int, int]] = []
    for x, y in sorted({(x // cell * cell, y // cell * cell) for x, y in places}):
        column, first, last = runs[-1] if runs else (-1, 0, 0)
        if column == x and y - last <= HOUR_HEIGHT and not is_crossed:
            runs[-1] = (x, first, y)
        else:
            runs.append((x, y, y))
    if is_crossed:
        return "".join(f"M{x - 3} {y - 3}l6 6m0-6l-6 6" for x, y, _ in runs)
    return "".join(f"M{x} {first}v{last - first}" for x, first, last in runs)


def strip(published: Sequence[Published], now: datetime) -> Markup:
    """The last half year in one line: a bar a week, as high as that week had episodes."""
    out = came(published, now)
    weeks = Counter((now - one.at).days // 7 for one in out)
    most = max([*weeks.values(), 1])
    bars = "".join(
        f"M{4 * (WEEKS - 1 - week) + 2} {STRIP_HEIGHT}v-{max(2, STRIP_HEIGHT * number // most)}"
        for week, number in sorted(weeks.items())
        if week < WEEKS
    )
    return Markup(
        '<svg class="strip" role="img" viewBox="0 0 {} {}" aria-label="{}"><path d="{}"/></svg>'
    ).format(4 * WEEKS, STRIP_HEIGHT, f"{counted(len(out), 'episode')} in {WEEKS} weeks", bars)


def checks(feed: Feed) -> Markup:
    """How the last checks of a feed ended: a cell each, oldest first."""
    marks = feed.recent_checks or ""
    words = Counter(CHECK_WORDS[mark] for mark in marks)
    title = ", ".join(f"{number} {word}" for word, number in words.items()) or "none yet"
    cells = Markup("").join(
        Markup('<rect class="check-{}" x="{}" y="{}" width="8" height="{}"/>').format(
            mark, 10 * place, 0 if mark in "cf" else 6, 16 if mark in "cf" else 10
        )
        for place, mark in enumerate(marks)
    )
    return Markup(
        '<svg class="checks" role="img" viewBox="0 0 480 16" aria-label="Last checks: {}">{}</svg>'
    ).format(title, cells)
