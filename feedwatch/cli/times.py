"""Times for people, the zone said: in UTC, or by `--local` in this machine's own zone."""

from datetime import datetime

import click

from feedwatch.core.json_forms import short, stamp, utc


class Times:
    """How a verb writes its times for people."""

    def __init__(self, *, local: bool) -> None:
        self._local = local

    def column(self, head: str) -> str:
        """The head of a column of times, with their zone."""
        return f"{head} ({'local' if self._local else 'UTC'})"

    def cell(self, moment: datetime | None) -> str:
        """A time in such a column, to the minute; a local one with its offset, which summer moves.

        `-` where there is none.
        """
        return self._in_zone(moment, "minutes") or short(moment)

    def spoken(self, moment: datetime | None) -> str:
        """A time in a sentence, to the minute."""
        return self._in_zone(moment, "minutes") or utc(moment)

    def exact(self, moment: datetime | None) -> str:
        """A time to the second; `-` where there is none."""
        return self._in_zone(moment, "seconds") or stamp(moment) or "-"

    def _in_zone(self, moment: datetime | None, detail: str) -> str | None:
        """A local time; None where it is to be told in UTC."""
        if not self._local or moment is None:
            return None
        try:
            return moment.astimezone().isoformat(" ", detail)
        except (OverflowError, ValueError, OSError):  # a year that no zone reaches
            return None


local_times = click.option(
    "--local",
    "times",
    is_flag=True,
    callback=lambda _context, _option, given: Times(local=given),
    help="Times in this machine's own zone, not in UTC. --json stays in UTC.",
)
