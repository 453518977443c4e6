"""OPML: feeds from and to other programs."""

import sys
from collections.abc import Collection
from datetime import UTC, datetime
from urllib.parse import urlsplit, urlunsplit

import click

from feedwatch.cli.output import PARTLY, say
from feedwatch.core.import_plan import Outline
from feedwatch.core.masking import masked
from feedwatch.core.settings import FeedConfig
from feedwatch.feeds.opml import opml_of


def write_opml(sources: Collection[FeedConfig]) -> None:
    """Write these feeds to standard output, without the credentials of any; say what is lacking.

    A feed whose address is a secret itself is left out, and the program ends with 3 then.
    """
    outlines, secret = [], []
    for source in sources:
        parts = urlsplit(source.url)
        url = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        if masked(url) != url:
            secret.append(source.name)
            continue
        if source.is_private:
            say(f"feed {source.name}: private; its user, password and header fields are left out")
        outlines.append(
            Outline(url=url, titles=(source.name,), podcast_id=source.podcast_id or None)
        )
    click.echo(opml_of(outlines, datetime.now(UTC)), nl=False)
    for name in secret:
        say(f"feed {name}: left out, since whoever has its address can read it")
    if secret:
        sys.exit(PARTLY)
