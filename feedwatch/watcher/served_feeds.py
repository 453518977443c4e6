"""Served feeds: rendered in the background, and kept for those who ask.

    kept document ── its items → known episodes ── processed files ── rewritten → rendering
          └── changed, an episode moved, the config changed, or a moment has come

Nothing is read, asked or rendered in the request of a listener; where the database is down, the
last renderings are served on.
"""

import gzip
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from types import TracebackType
from typing import Self

from feedwatch.core.printable import counted
from feedwatch.core.served import Places, ServedDocument, places
from feedwatch.core.settings import FeedConfig, PodcastGuid, TimedTags
from feedwatch.feeds.layout import Layout, layout_of
from feedwatch.feeds.rewrite import Edition, rewritten
from feedwatch.feeds.well_formed import is_well_formed, unpacked
from feedwatch.store.errors import StoreError
from feedwatch.store.store import Store
from feedwatch.watcher.context import Plan
from feedwatch.watcher.placements import episodes_of
from feedwatch.watcher.processed_files import ProcessedFiles
from feedwatch.watcher.renderings import Rendering, Renderings

log = logging.getLogger(__name__)

ROUND_SECONDS = 2.0
WAIT_AFTER_ERROR = 30.0  # seconds
ASK_SECONDS = 20.0  # of a round: servers that do not answer must not keep all feeds waiting
GZIP_LEVEL = 6


@dataclass(frozen=True, kw_only=True)
class _State:
    """What a rendering was made from, and when it must be made anew."""

    source: FeedConfig
    version: int
    at: datetime  # when it was made: later than now, if the clock was set back since
    again_at: datetime | None


class ServedFeeds:
    """The renderings of all feeds that are served; made anew from `with` to its end."""

    def __init__(
        self,
        store: Store,
        plan: Callable[[], Plan],
        files: ProcessedFiles,
        url: str,
        clock: Callable[[], datetime],
    ) -> None:
        """`url` is the public address."""
        self._store = store
        self._plan = plan
        self._files = files
        self._url = url
        self._clock = clock
        self._renderings = Renderings()
        self._states: dict[str, _State] = {}
        self._unplaced: dict[str, frozenset[int]] = {}  # as noted in the database
        self._last_move: int | None = None
        self._ask_until = 0.0  # for processed files, by the monotonic clock
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="served", daemon=True)

    def path_of(self, name: str) -> str | None:
        """Where the feed is served; None: there is none of this name, or it is not served."""
        plan = self._plan()
        source = plan.sources.get(name)
        return source.served_path if source is not None and plan.serves(source) else None

    def find(self, name: str) -> Rendering | None:
        """The feed as it is served now; None until it was rendered."""
        return self._renderings.find(name)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self._thread.join()
        self._renderings.close()

    def _work(self) -> None:
        failed = ""
        while not self._stopping.is_set():
            wait = ROUND_SECONDS
            try:
                self.refresh()
                failed = ""
            except StoreError as error:
                if failed != str(error):
                    log.error("served feeds stay as they are: %s", error)  # noqa: TRY400 - no bug
                failed, wait = str(error), WAIT_AFTER_ERROR
            except Exception:
                log.exception("served feeds: a bug has ended the round")
                wait = WAIT_AFTER_ERROR
            self._stopping.wait(wait)

    def refresh(self) -> None:
        """Render what has changed. Raises `StoreError`."""
        plan, store, now = self._plan(), self._store, self._clock()
        self._ask_until = time.monotonic() + ASK_SECONDS
        kept, last_move = store.documents.all(), store.documents.last_move()
        if self._last_move is None or last_move < self._last_move:  # another database
            self._states.clear()
            moved = set[str]()
        elif last_move > self._last_move:
            moved = store.documents.moved_since(self._last_move)
        else:
            moved = set()
        served = {name: one for name, one in plan.sources.items() if plan.serves(one)}
        for name in self._renderings.names() - served.keys():
            self._renderings.drop(name)
            self._states.pop(name, None)
        for name in served.keys() & kept.keys():
            if self._stopping.is_set():
                return
            state = self._states.get(name)
            if (
                state is None
                or name in moved
                or self._renderings.is_lost(name)
                or (state.source, state.version) != (served[name], kept[name].version)
                or (state.again_at is not None and not state.at <= now < state.again_at)
            ):
                self._render_alone(served[name], kept[name], now)
        self._last_move = last_move

    def _render_alone(self, source: FeedConfig, kept: ServedDocument, now: datetime) -> None:
        """Render a feed, and keep a bug that it brings out from the others."""
        again_at = None
        try:
            again_at = self._render(source, kept, now)
        except StoreError:
            raise
        except Exception:
            log.exception(
                "feed %s: a bug has ended its rendering; it is served as it was",
                source.name,
                extra={"feed": source.name},
            )
        self._states[source.name] = _State(
            source=source, version=kept.version, at=now, again_at=again_at
        )

    def _render(self, source: FeedConfig, kept: ServedDocument, now: datetime) -> datetime | None:
        """Render a feed; returns when that is to be done again, whatever else happens."""
        store = self._store
        body, feed = store.documents.body(kept.feed_id), store.feeds.get(kept.feed_id)
        if body is None or feed is None:
            return None
        layout = layout_of(unpacked(body))
        found = episodes_of(store, feed, source, layout, kept.url)
        episodes = store.documents.episodes(kept.feed_id)
        decided = places(found, episodes, source.serving, now)
        if decided.unasked and time.monotonic() < self._ask_until:
            facts = self._files.ask(decided.unasked, self._ask_until)
            store.documents.save_files(facts)
            for number, file in facts.items():
                if file.file.length is None and file.due_at is None:
                    log.warning(
                        "feed %s: the length of the processed file of episode %d is not known: "
                        "its server does not tell; the served feed says 0",
                        source.name,
                        number,
                        extra={"feed": source.name, "episode": number},
                    )
            episodes = store.documents.episodes(kept.feed_id)
            decided = places(found, episodes, source.serving, now)
        if decided.unplaced != self._unplaced.get(source.name):
            if store.documents.note_unplaced(kept.feed_id, kept.version, decided.unplaced):
                self._unplaced[source.name] = decided.unplaced
            if len(decided.unplaced) != (kept.unplaced or 0):
                log.info(
                    "feed %s: %s without an item in the served feed",
                    *(source.name, counted(len(decided.unplaced), "ready episode")),
                    extra={"feed": source.name},
                )
        self._publish(source, layout, decided)
        return now if decided.unasked else decided.again_at

    def _publish(self, source: FeedConfig, layout: Layout, decided: Places) -> None:
        edition = Edition(
            url=f"{self._url}{source.served_path}",
            keeps_guid=source.serving.podcast_guid is PodcastGuid.KEEP,
            keeps_timed=source.serving.timed_tags is TimedTags.KEEP,
        )
        document = rewritten(layout, decided.processed, edition, decided.omitted)
        if not is_well_formed(document):
            log.error(
                "feed %s: a bug has made its rendering ill-formed; it is served as it was",
                source.name,
                extra={"feed": source.name},
            )
            return
        digest = sha256(document).hexdigest()[:32]
        before = self._renderings.find(source.name)
        if before is not None and before.digest == digest:
            return
        is_atom = layout.channel is not None and layout.channel.name == "feed"
        packed = gzip.compress(document, GZIP_LEVEL, mtime=0)
        try:
            self._renderings.keep(source.name, packed, digest, self._clock(), is_atom=is_atom)
        except OSError as error:
            log.error(  # noqa: TRY400 - no bug
                "feed %s: there is no room for its rendering, it is served as it was: %s",
                *(source.name, error),
                extra={"feed": source.name},
            )
            return
        log.debug(
            "feed %s: rendered, %d of %s with the processed file",
            *(source.name, len(decided.processed), counted(len(layout.items), "item")),
            extra={"feed": source.name},
        )
