"""The demo: a publisher, the sandbox and a real daemon, told as it happens."""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self, TypeVar

import click

from feedwatch.cli.assembly import assembled
from feedwatch.cli.output import FAILED, print_table, stop
from feedwatch.config.load import load
from feedwatch.core.episode import Episode, State
from feedwatch.core.json_forms import short
from feedwatch.logs import formatters
from feedwatch.logs.masking import know
from feedwatch.sandbox.server import Sandbox
from feedwatch.store.store import Store

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
<pubDate>{number:02d} Nov 2026 06:00:00 +0000</pubDate>
<description>&lt;p&gt;About {title}. See &lt;a href="https://example.org/{number}"&gt;the notes\
&lt;/a&gt;.&lt;/p&gt;</description>
<enclosure url="https://media.example.org/demo/{number}.mp3" length="1000" type="audio/mpeg"/>
</item>
"""


Found = TypeVar("Found")


class Publisher:
    """A feed whose episodes are published while one looks on, served on loopback."""

    def __init__(self) -> None:
        self.titles = ["how it began", "what came next"]
        publisher = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = publisher.document()
                self.send_response(200)
                self.send_header("content-type", "application/rss+xml")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/feed.xml"

    def document(self) -> bytes:
        """The feed as it is now, newest first."""
        items = [
            ITEM.format(number=number, title=title)
            for number, title in enumerate(self.titles, start=1)
        ]
        head = '<rss version="2.0"><channel><title>Demo</title>'
        return f"{head}{''.join(reversed(items))}</channel></rss>".encode()

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@click.command()
def demo() -> None:
    """Show an episode go from published to processed: no key, no network.

    It takes half a minute. The story goes to standard output, the daemon's log lines to standard
    error.
    """
    with (
        TemporaryDirectory(prefix="feedwatch-demo-") as folder,
        Sandbox(api_key=KEY, podcasts={PODCAST: "Demo"}, job_seconds=JOB_SECONDS) as sandbox,
        Publisher() as publisher,
    ):
        path = Path(folder, "config.env")
        path.touch(0o600)
        path.write_text(
            CONFIG.format(api=sandbox.url, key=KEY, feed=publisher.url, podcast=PODCAST)
        )
        click.echo(f"A stand-in for the media API runs at {sandbox.url}")
        click.echo(f"A feed with {len(publisher.titles)} old episodes is at {publisher.url}")
        with _daemon(path) as store:
            _tell(store, sandbox, publisher)


@contextmanager
def _daemon(config: Path) -> Iterator[Store]:
    """The daemon as `feedwatch run` has it, in a thread."""
    settings = load(config, {})
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


def _tell(store: Store, sandbox: Sandbox, publisher: Publisher) -> None:
    _wait(lambda: store.feeds.all()[0].success_at is not None, "the first check")
    click.echo(
        f"\n1. The first check: {len(store.episodes.find())} old episodes, none submitted "
        f"(FEEDWATCH_FIRST_RUN=none); submissions so far: {len(sandbox.submissions)}"
    )
    publisher.titles.append("published just now")
    click.echo("\n2. The publisher adds an episode. feedwatch:")
    episode = _follow(store)
    click.echo(f"\n3. Recorded: {episode.processed_url}")
    checked = store.feeds.all()[0].checked_at
    _wait(lambda: store.feeds.all()[0].checked_at != checked, "another check")
    count = len(sandbox.submissions)
    click.echo(f"\n4. The feed was checked again. Submissions in all: {count}.\n")
    print_table(
        ("id", "state", "published", "title", "reason or processed URL"),
        (
            (one.id, one.state, short(one.published_at), one.title, one.processed_url or one.reason)
            for one in store.episodes.find()
        ),
        "",
    )
    if count != 1:
        sys.exit(FAILED)


def _follow(store: Store) -> Episode:
    """Tell each step of the newest episode until it is ready."""
    begun, told = time.monotonic(), ""

    def moved() -> Episode | None:
        episode = store.episodes.find(limit=1)[0]
        return episode if episode.state is not State.SKIPPED and _word(episode) != told else None

    while True:
        episode = _wait(moved, f"a step after {told or 'publishing'}")
        told = _word(episode)
        click.echo(f"   {time.monotonic() - begun:5.1f} s  {told}")
        if episode.state is State.READY:
            return episode


def _word(episode: Episode) -> str:
    if episode.state is State.PROCESSING:
        return f"{episode.state}, the API says {episode.remote_status}"
    return episode.state


def _wait(look: Callable[[], Found | None], what: str) -> Found:
    """What `look` gives, once it gives something."""
    until = time.monotonic() + MAX_WAIT
    while not (found := look()):
        if time.monotonic() > until:
            stop(f"the demo waited {MAX_WAIT:.0f} s in vain for {what}; see the log lines above")
        time.sleep(LOOK_EVERY)
    return found
