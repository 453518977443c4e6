"""What is under way, on the last line of the terminal that standard error is; nothing elsewhere."""

import io
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from feedwatch.cli.output import shows_progress
from feedwatch.core.masking import masked

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress


class Line:
    """The line. Without a terminal it does nothing."""

    def __init__(self, shown: "Progress | None" = None, total: int | None = None) -> None:
        self._shown = shown
        self._task = shown.add_task("", total=total) if shown is not None else None

    @property
    def is_shown(self) -> bool:
        """Whether anybody sees it."""
        return self._shown is not None

    def say(self, text: str, done: int | None = None) -> None:
        """What is under way now, and how many of all are done."""
        if self._shown is not None and self._task is not None:
            self._shown.update(self._task, description=masked(text), completed=done)

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Make room for what is written meanwhile."""
        if self._shown is None:
            yield
            return
        self._shown.stop()
        yield
        self._shown.start()


@contextmanager
def progress(text: str, total: int | None = None) -> Iterator[Line]:
    """The line, until the end of `with`; with a bar if there is a total."""
    if not shows_progress():
        yield Line()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

    columns = [BarColumn(bar_width=20), MofNCompleteColumn()] if total is not None else []
    description = TextColumn("{task.description}", markup=False)
    # What is written meanwhile is not rich's to change: the log has its own way, see below.
    shown = Progress(
        *(SpinnerColumn(), *columns, description),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with ExitStack() as stack:
        stack.enter_context(_log_lines_above(shown.console))
        stack.enter_context(shown)
        line = Line(shown, total)
        line.say(text)
        yield line


class _Above(io.TextIOBase):
    """Where the log goes meanwhile: each line of it stands in one piece above the progress."""

    def __init__(self, console: "Console") -> None:
        self._console = console

    def write(self, text: str) -> int:
        """One record of the log."""
        self._console.out(text.removesuffix("\n"), highlight=False)
        return len(text)


@contextmanager
def _log_lines_above(console: "Console") -> Iterator[None]:
    handlers = [one for one in logging.getLogger().handlers if type(one) is logging.StreamHandler]
    before = [(one, one.setStream(_Above(console))) for one in handlers]
    try:
        yield
    finally:
        for handler, stream in before:
            if stream is not None:
                handler.setStream(stream)
