"""The demo: a publisher, the sandbox and a real daemon, told as it happens."""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import click

from feedwatch.cli.assembly import assembled
from feedwatch.cli.output import FAILED, print_table, stop
from feedwatch.cli.sandbox import mediaapis_lines
from feedwatch.config.keys import Settings
from feedwatch.config.load import load
from feedwatch.core.episode import Episode, State
from feedwatch.core.json_forms import short
from feedwatch.core.masking import know
from feedwatch.core.pipeline import ADS_ALONE, Pipeline, in_words
from feedwatch.core.printable import counted
from feedwatch.core.schedule import DAY
from feedwatch.logs import formatters
from feedwatch.sandbox.server import Sandbox
from feedwatch.store.store import Store
from feedwatch.web.server import HttpSide

PODCAST, KEY = "podcast-1", "sandbox-key"
JOB_SECONDS = 4.0
MAX_WAIT = 40.0  # seconds; something is broken if a step takes longer
LOOK_EVERY = 0.05

CONFIG = """\
FEEDWATCH_API_URL={api}
FEEDWATCH_API_KEY={key}
FEEDWATCH_CHECK_INTERVAL=1s
FEEDWATCH_POLL_INTERVAL=1s
FEEDWATCH_FEEDS__DEMO__URL={feed}
FEEDWATCH_FEEDS__DEMO__PODCAST_ID={podcast}
FEEDWATCH_FEEDS__DEMO__AD_OPTIONS={{"preRoll": {{"adCount": 1}}}}
"""

ITEM = """\
<item>
<title>Episode {number}: {title}</title>
<guid isPermaLink="false">demo-{number}</guid>
<pubDate>{published}</pubDate>
<description>&lt;p&gt;About {title}. See &lt;a href="https://example.org/{number}"&gt;the notes\
&lt;/a&gt;.&lt;/p&gt;</description>
<enclosure url="https://media.example.org/demo/{number}.mp3" length="1000" type="audio/mpeg"/>
</item>
"""


Found = TypeVar("Found")


@click.command()
@click.option(
    "--pipeline",
    default=in_words(ADS_ALONE),
    show_default=True,
    metavar="STEPS",
    help="The steps that it goes through, for example enhance,ads.",
)
def demo(*, pipeline: str) -> None:
    """Show an episode go from published to processed: no key, no network.

    It takes half a minute, with several steps a little longer. The story goes to standard output,
    the daemon's log lines to standard error.
    """
    now = datetime.now(UTC)
    episodes = [("how it began", now - 14 * DAY), ("what came next", now - 7 * DAY)]
    with (
        TemporaryDirectory(prefix="feedwatch-demo-") as folder,
        Sandbox(api_key=KEY, podcasts={PODCAST: "Demo"}, job_seconds=JOB_SECONDS) as sandbox,
        HttpSide("127.0.0.1", 0).serve(lambda *asked: _feed(episodes, *asked)) as publisher,
    ):
        path, feed = Path(folder, "config.env"), f"{publisher.url}/feed.xml"
        path.touch(0o600)
        config = CONFIG.format(api=sandbox.url, key=KEY, feed=feed, podcast=PODCAST)
        lines = [*mediaapis_lines(sandbox.url), f"FEEDWATCH_PIPELINE={pipeline}", ""]
        path.write_text(config + "\n".join(lines))
        settings = load(path, {})
        click.echo(f"A stand-in for the media API runs at {sandbox.url}")
        click.echo(f"A feed with {counted(len(episodes), 'old episode')} is at {feed}")
        with _daemon(settings) as store:
            _tell(store, sandbox, episodes, settings.sources[0].pipeline)


def _feed(
    episodes: Sequence[tuple[str, datetime]], _environ: Any, start_response: Any
) -> list[bytes]:
    """The feed with these episodes, newest first, as WSGI answers."""
    items = [
        ITEM.format(number=number, title=title, published=format_datetime(published))
        for number, (title, published) in enumerate(episodes, 1)
    ]
    head = '<rss version="2.0"><channel><title>Demo</title>'
    body = f"{head}{''.join(reversed(items))}</channel></rss>".encode()
    length = ("Content-Length", str(len(body)))
    start_response("200 OK", [("Content-Type", "application/rss+xml"), length])
    return [body]


@contextmanager
def _daemon(settings: Settings) -> Iterator[Store]:
    """The daemon as `feedwatch run` has it, in a thread."""
    know(settings.secrets())
    formatters.set_up(as_json=False, level="info")
    with assembled(settings) as (daemon, context):
        thread = threading.Thread(target=daemon.run)
        thread.start()
        try:
            yield context.store
        finally:
            logging.getLogger("feedwatch").setLevel(logging.WARNING)
            daemon.stop()
            thread.join()


def _tell(
    store: Store, sandbox: Sandbox, episodes: list[tuple[str, datetime]], pipeline: Pipeline
) -> None:
    _wait(lambda: store.feeds.all()[0].success_at is not None, "the first check")
    click.echo(
        f"\n1. The first check: {counted(len(store.episodes.find()), 'old episode')}, none "
        f"submitted (FEEDWATCH_FIRST_RUN=none); submissions so far: {len(sandbox.submissions)}"
    )
    episodes.append(("published just now", datetime.now(UTC)))
    click.echo("\n2. The publisher adds an episode. feedwatch:")
    episode = _follow(store, names_step=len(pipeline) > 1)
    click.echo(f"\n3. Recorded: {episode.processed_url}")
    checked = store.feeds.all()[0].checked_at
    _wait(lambda: store.feeds.all()[0].checked_at != checked, "another check")
    count = len(sandbox.submissions)
    each = f", one for each of {in_words(pipeline)}" if count == len(pipeline) > 1 else ""
    click.echo(f"\n4. The feed was checked again. Submissions in all: {count}{each}.\n")
    rows = [
        {
            "id": one.id,
            "state": one.state,
            "published (UTC)": short(one.published_at),
            "title": one.title,
            "reason or processed URL": one.processed_url or one.reason,
        }
        for one in store.episodes.find()
    ]
    print_table(rows)
    if count != len(pipeline):
        sys.exit(FAILED)


def _follow(store: Store, *, names_step: bool) -> Episode:
    """Tell all that becomes of the newest episode until it is ready."""
    begun, told = time.monotonic(), ""

    def step() -> tuple[Episode, str] | None:
        (episode,) = store.episodes.find(limit=1)
        word = f"{episode.step}: {episode.state}" if names_step else f"{episode.state}"
        if episode.state is State.PROCESSING and episode.remote_status is not None:
            word += f", the API says {episode.remote_status}"
        return (episode, word) if episode.state is not State.SKIPPED and word != told else None

    while True:
        episode, told = _wait(step, f"a step after {told or 'publishing'}")
        click.echo(f"   {time.monotonic() - begun:5.1f} s  {told}")
        if episode.state is State.READY:
            return episode


def _wait(look: Callable[[], Found | None], what: str) -> Found:
    """What `look` gives, once it gives something."""
    until = time.monotonic() + MAX_WAIT
    while not (found := look()):
        if time.monotonic() > until:
            stop(f"the demo waited {MAX_WAIT:.0f} s in vain for {what}; see the log lines above")
        time.sleep(LOOK_EVERY)
    return found
