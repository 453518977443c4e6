"""The manual page feedwatch(1), made from what `--help` says: `make build/feedwatch.1` calls this.

Its date is that of SOURCE_DATE_EPOCH, if it is set, so that the same source makes the same page.
"""

import os
import re
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import click

from feedwatch import __version__
from feedwatch.cli.verbs import GROUPS, STATUSES, cli, verb

CONFIG = Path(__file__).parent.parent / "config.example.env"
CODE = re.compile(r"`([^`]+)`")
NOT_PLAIN = re.compile(r"[^\n -~]")
FILES = {
    "config.env": "The configuration, where --config and $FEEDWATCH_CONFIG name no other file.",
    "/etc/feedwatch/config.env": "The same, where the current folder has none.",
    "feedwatch.db": "The SQLite database, beside the configuration unless "
    "FEEDWATCH_DATABASE_URL names another place or PostgreSQL.",
    "*.claims": "The journal of submissions, which tells a lost or restored database from a new "
    "one: beside the configuration, beside the database, and in $CACHE_DIRECTORY. Keep it.",
    "/run/secrets/feedwatch_api_key": "The API key, as a container's secret.",
}
ENVIRONMENT = {
    "FEEDWATCH_CONFIG": "The configuration file, unless --config names one.",
    "FEEDWATCH_...": "Each key of the configuration. The environment overrides the file.",
    "CREDENTIALS_DIRECTORY": "Where systemd puts credentials, such as feedwatch_api_key.",
    "CACHE_DIRECTORY": "Where systemd has one, a copy of the journal is kept in it.",
    "SSL_CERT_FILE": "Certificates to trust in place of the usual ones.",
    "NO_COLOR": "If set, there are no colors and no progress on a terminal.",
}


def page() -> str:
    """The whole page, in the macros of man(7)."""
    return "\n".join(lines()) + "\n"


def lines() -> Iterator[str]:
    """The lines of the page."""
    context = click.Context(cli, info_name="feedwatch")
    date = time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH") or time.time()))
    yield f'.TH FEEDWATCH 1 "{time.strftime("%Y-%m-%d", date)}" "feedwatch {__version__}"'
    yield from (".nh", ".ad l")  # names and commands stay whole, to be searched and copied
    first, *more = paragraphs(cli)
    yield from (".SH NAME", rf"feedwatch \- {roff(first[:1].lower() + first[1:].rstrip('.'))}")
    yield from (".SH SYNOPSIS", r"\fBfeedwatch\fR [\fB\-\-config\fR \fIFILE\fR] \fIVERB\fR ...")
    yield ".SH DESCRIPTION"
    yield from texts([first, *more])
    yield ".SH OPTIONS"
    yield from options(cli, context)
    yield ".SH VERBS"
    for group, verbs in GROUPS.items():
        yield f".SS {roff(group)}"
        for name in verbs:
            yield from entry(verb(name), context)
    yield ".SH EXIT STATUS"
    yield from terms({str(number): text for number, text in STATUSES.items()})
    yield ".SH FILES"
    yield from terms(FILES)
    yield ".SH ENVIRONMENT"
    yield from terms(ENVIRONMENT)
    yield from (".SH CONFIGURATION", "A file to start from; what stands behind # is the default:")
    yield from (".PP", ".EX", roff(CONFIG.read_text(encoding="utf-8").rstrip()), ".EE")


def entry(command: click.Command, parent: click.Context) -> Iterator[str]:
    """A verb: how it is called, what it does, and its options."""
    context = click.Context(command, info_name=command.name, parent=parent)
    usage = " ".join(command.collect_usage_pieces(context))
    yield from (".TP", rf"\fBfeedwatch {command.name}\fR {roff(usage)}")
    yield from texts(paragraphs(command), ".IP")
    if known := list(options(command, context)):
        yield from (".RS", *known, ".RE")


def options(command: click.Command, context: click.Context) -> Iterator[str]:
    """The options, as `--help` has them, but for `--help` itself."""
    params = [param for param in command.params if isinstance(param, click.Option)]
    records = [param.get_help_record(context) for param in params]
    yield from terms(dict(record for record in records if record is not None))


def paragraphs(command: click.Command) -> list[str]:
    """The help, a paragraph an entry."""
    return [" ".join(part.split()) for part in (command.help or "").split("\n\n")]


def texts(parts: list[str], between: str = ".PP") -> Iterator[str]:
    """Paragraphs of running text."""
    for number, part in enumerate(parts):
        if number:
            yield between
        yield folded(part)


def terms(pairs: dict[str, str]) -> Iterator[str]:
    """Words, and what each of them means."""
    for term, text in pairs.items():
        yield from (".TP", rf"\fB{roff(term)}\fR", folded(text))


def folded(text: str) -> str:
    """Running text in lines of a length that checkers of manual pages ask for."""
    whole = textwrap.fill(roff(text), 78, break_long_words=False, break_on_hyphens=False)
    return re.sub(r"^\.", r"\\&.", whole, flags=re.MULTILINE)


def roff(text: str) -> str:
    """Text as it is, whatever roff would make of it; what stands in backticks is bold."""
    text = text.replace("\\", r"\e").replace("-", r"\-")
    text = CODE.sub(r"\\fB\1\\fR", text)
    for mark, name in {"`": r"\(ga", "'": r"\(aq", "^": r"\(ha", "~": r"\(ti"}.items():
        text = text.replace(mark, name)
    text = re.sub(r"^\.", r"\\&.", text, flags=re.MULTILINE)
    return NOT_PLAIN.sub(lambda char: rf"\[u{ord(char[0]):04X}]", text)


if __name__ == "__main__":
    sys.stdout.write(page())
