"""`rhythm`: when a feed's episodes came, and when the next one is expected, drawn in text."""

import os
import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import ceil
from pathlib import Path
from shutil import get_terminal_size
from typing import NamedTuple

import click

from feedwatch.cli.output import as_json, print_json, tell
from feedwatch.cli.settings import opened, read_settings
from feedwatch.core.feed import Feed
from feedwatch.core.json_forms import stamp
from feedwatch.core.printable import counted
from feedwatch.core.rhythm import AHEAD, SPAN, Published, came, expectation, gaps, rhythm_in_words
from feedwatch.core.schedule import DAY
from feedwatch.watcher.overview import configured_feeds, find_feed

WEEK = 7 * DAY
MOST_WEEKS = 53  # of the past, where there is room for them
LABEL = 5  # columns to the left of a picture
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


class Signs(NamedTuple):
    """What a picture is made of."""

    episode: str
    none: str
    expected: str
    bars: str  # from the lowest to the highest

    @property
    def key(self) -> str:
        """What the signs of the days mean."""
        several = "2-9 so many, + more"
        return f"{self.episode} an episode, {several}, {self.none} none, {self.expected} expected"


UNICODE = Signs("●", "·", "░", "▁▂▃▄▅▆▇█")
ASCII = Signs("o", ".", "?", ".:-=+*#@")


@click.command()
@click.argument("feed", metavar="FEED")
@as_json
@click.pass_obj
def rhythm(config: Path | None, *, feed: str, as_json: bool) -> None:
    """Show when a feed's episodes came, and when the next one is expected.

    A column for each week, and below how many came at which hour. Times are UTC.
    """
    settings, now = read_settings(config), datetime.now(UTC)
    with opened(settings) as store:
        name = find_feed(store, settings.sources, feed)
        known = store.feeds.named(name) or configured_feeds(store, settings.sources)[name]
        published = store.listings.published([name], now - MOST_WEEKS * WEEK).get(name, [])
    lately = [one for one in published if one.at >= now - SPAN]  # as the page has it
    if as_json:
        quiet = [
            {"from": stamp(gap.begin), "to": stamp(gap.end)} for gap in gaps(came(lately, now))
        ]
        episodes = [{"published_at": stamp(one.at), "state": one.state} for one in published]
        due = {"expected_by": stamp(known.expected_by), "silent_since": stamp(known.silent_since)}
        print_json({"feed": name, **due, "gaps": quiet, "episodes": episodes})
        return
    signs = signs_of(sys.stdout.encoding)
    width = get_terminal_size((80, 24)).columns
    tell(f"{name}: {rhythm_in_words(lately, known, now)}\n")
    drawn = replace(known, expected_by=expectation(lately, known, now))
    for line in calendar(published, drawn, now, width, signs):
        click.echo(coloured(line, signs) if has_colour() else line)
    tell(f"{' ' * LABEL}{signs.key}\n")
    for line in hours(came(published, now), signs):
        click.echo(line)
    tell(f"{' ' * LABEL}{counted(len(came(published, now)), 'episode')} in a year, by the hour UTC")


def signs_of(encoding: str | None) -> Signs:
    """The signs that a terminal with this encoding can show."""
    try:
        "".join(UNICODE).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return UNICODE


def has_colour() -> bool:
    """Whether there is somebody who sees colours and wants them."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def coloured(line: str, signs: Signs) -> str:
    """A line of the calendar, with its episodes and what is expected in colour."""
    label, days = line[:LABEL], line[LABEL:]
    if label.strip() not in WEEKDAYS:
        return line
    days = re.sub(f"[2-9+{signs.episode}]", lambda one: click.style(one[0], fg="green"), days)
    return label + days.replace(signs.expected, click.style(signs.expected, fg="yellow"))


def calendar(
    published: Sequence[Published], feed: Feed, now: datetime, width: int, signs: Signs
) -> list[str]:
    """The last weeks, as many as fit into so many columns, and those to come."""
    expected = min(feed.expected_by or now, now + AHEAD)
    last = max(now, expected).date()
    end = last - timedelta(days=last.weekday())
    today = now.date()
    ahead = (end - (today - timedelta(days=today.weekday()))) // WEEK
    columns = min(max((width - LABEL) // 2, ahead + 1), MOST_WEEKS + ahead)
    weeks = [end - number * WEEK for number in reversed(range(columns))]
    counts = Counter(one.at.date() for one in published)
    months = ""
    for place, monday in enumerate(weeks):
        is_first = place == 0 or monday.month != weeks[place - 1].month
        if is_first and 2 * place >= len(months) and place < columns - 1:
            months = f"{months:<{2 * place}}{MONTHS[monday.month - 1]} "
    lines = [" " * LABEL + months.rstrip()]
    for weekday, label in enumerate(WEEKDAYS):
        cells = []
        for monday in weeks:
            day = monday + weekday * DAY
            number = counts[day]
            sign = signs.none if day <= today else signs.expected if day <= expected.date() else " "
            many = str(number) if number < 10 else "+"
            cells.append(sign if not number else signs.episode if number == 1 else many)
        lines.append(f"{label:<{LABEL}}{' '.join(cells)}".rstrip())
    this_week = LABEL + 2 * (columns - 1 - ahead)
    return [*lines, f"{'this week ^':>{this_week + 1}}"]


def hours(published: Sequence[Published], signs: Signs) -> list[str]:
    """At which hours of the day episodes came: a bar for each hour, and their axis."""
    counts = Counter(one.at.hour for one in published)
    most = max([*counts.values(), 1])
    bars = [
        signs.bars[ceil(len(signs.bars) * counts[hour] / most) - 1] if counts[hour] else " "
        for hour in range(24)
    ]
    axis = "".join(f"{hour:02d}{' ' * 10}" for hour in (0, 6, 12, 18))
    return [f"{'hour':<{LABEL}}{' '.join(bars)}".rstrip(), f"{' ' * LABEL}{axis}".rstrip()]
