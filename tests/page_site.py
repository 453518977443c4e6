"""A page with something on it: a database of all kinds of episodes, served without a daemon."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Connection
from werkzeug.test import TestResponse

from feedwatch.core.episode import Episode, State
from feedwatch.core.feed import Feed
from feedwatch.core.identity import Key, KeyKind
from feedwatch.core.ledger import Target
from feedwatch.core.settings import FeedConfig, Policy
from feedwatch.core.status import Finding
from feedwatch.daemon.metrics import Metrics
from feedwatch.store.checks import Admitted, NewEpisode
from feedwatch.store.store import Store
from feedwatch.watcher import decisions
from feedwatch.watcher.context import Plan
from feedwatch.watcher.decisions import Proposal
from feedwatch.web.app import application
from feedwatch.web.monitoring import Serving
from feedwatch.web.server import HttpSide
from feedwatch.web.site import Access, DryRun, Parts, Site
from tests.empty_database import empty_database

PASSWORD = "correct horse battery"
READ, DECIDE = "token-that-may-only-read", "token-that-may-decide-too"
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


class PageSite:
    """The page's parts on a database that a test fills."""

    def __init__(self, path: Path, feeds: int = 1) -> None:
        path.write_bytes(empty_database().read_bytes())
        self.store = Store(f"sqlite:///{path}", processor="inlet", may_create=True)
        self.configs = {
            name: FeedConfig(name=name, url=f"https://feeds.example.org/{name}.xml", podcast_id="p")
            for name in (["show"] + [f"show-{number}" for number in range(1, feeds)])
        }
        self.store.feeds.sync(self.configs.values(), dict.fromkeys(self.configs, NOW))
        self.journal = [path.with_name("a.db.claims")]
        self.now = NOW
        self._added = 0
        self.plan = Plan(sources=self.configs, policy=Policy())

    def feed(self, name: str = "show") -> Feed:
        """A feed, as it is remembered."""
        return next(feed for feed in self.store.feeds.all() if feed.name == name)

    def add(
        self, *episodes: tuple[str, State] | Episode, feed: str = "show", plainly: bool = False
    ) -> list[int]:
        """Admit episodes, by title and state, to a feed; their ids.

        With `plainly`, no more is kept of them than a check keeps of a new one: that is quick.
        """
        new: list[NewEpisode] = []
        for one in episodes:
            found = one if isinstance(one, Episode) else self.episode(*one)
            self._added += 1
            keys = [Key(KeyKind.GUID, f"guid-{self._added}")]
            title = found.title[:500]
            new.append(NewEpisode(episode=replace(found, feed=feed), keys=keys, title_key=title))
        before = self.feed(feed)
        after = replace(before, checked_at=self.now, success_at=self.now)
        ids: list[int] = []

        def note(_db: Connection, admitted: Sequence[Admitted]) -> list[Any]:
            ids.extend(number for number, _ in admitted)
            return []

        assert (
            self.store.checks.record(after, new, {}, self.now, before=before, paid=note) is not None
        )
        for number, admitted in zip(ids, new, strict=True) if not plainly else ():
            stored = self.store.episodes.get(number)
            assert stored is not None
            moved = replace(admitted.episode, id=number, version=stored.version)
            if moved != stored:
                self.store.episodes.save(stored, moved, self.now)
        return ids

    def episode(self, title: str, state: State, **more: Any) -> Episode:
        """An episode that has been in `state` for an hour."""
        sent = state in (State.UNKNOWN, State.PROCESSING, State.READY, State.FAILED)
        values: dict[str, Any] = {
            "feed": "show",
            "guid": None,
            "title": title,
            "description": "About it.",
            "enclosure_url": "https://media.example.org/1.mp3",
            "published_at": self.now - timedelta(hours=2),
            "state": state,
            "reason": f"the reason of {title}"[:500],
            "first_seen_at": self.now - timedelta(hours=1),
            "podcast_id": "p" if sent else None,
            "submitted_at": self.now - timedelta(hours=1) if sent else None,
            "media_id": f"media-{title}"[:50] if state in (State.PROCESSING, State.READY) else None,
            "finished_at": self.now if state in (State.READY, State.FAILED) else None,
            "processed_url": "https://cdn.example.org/1.mp3" if state is State.READY else None,
        }
        return Episode(**values | more)

    def state(self, number: int) -> State:
        """The state of an episode."""
        episode = self.store.episodes.get(number)
        assert episode is not None
        return episode.state

    def app(self, **access: Any) -> Flask:
        """The application on these parts."""
        return application(self.site(**access), Serving(Metrics(), list))

    def site(self, **access: Any) -> Site:
        """The site; without other access, with a password and both tokens."""
        granted: Mapping[str, Any] = {
            "url": "http://localhost",
            "password": PASSWORD,
            "read_token": READ,
            "decide_token": DECIDE,
        }
        site = Site(access=Access(**(access or granted)), clock=lambda: self.now)

        def targets_of(_: Episode) -> list[Target]:
            return [Target("inlet", "https://api.example.org", "p")]

        def adopt(number: int, media_id: str, now: datetime) -> Proposal:
            return decisions.adoption(self.store, self.plan, {}, number, media_id, now)

        def retry(number: int, now: datetime) -> Proposal:
            return decisions.retrial(self.store, self.plan, {}, [number], None, now, targets_of)

        site.parts = Parts(
            store=self.store,
            plan=lambda: self.plan,
            targets_of=targets_of,
            adopt=adopt,
            retry=retry,
            dry_run=lambda _, __: DryRun(error="nothing is fetched here"),
            diagnose=lambda: [Finding("clock", "0 s off"), Finding("feed", "404", "see")],
            journal=self.journal,
            facts=[("Database", self.store.place)],
        )
        return site


@contextmanager
def page_site(path: Path, feeds: int = 1) -> Iterator[PageSite]:
    """A page's parts, closed at the end."""
    site = PageSite(path, feeds)
    try:
        yield site
    finally:
        site.store.close()


@contextmanager
def served_page(site: PageSite) -> Iterator[str]:
    """The page on a real server, with a password and both tokens; its address."""
    side = HttpSide("127.0.0.1", 0)
    access = {
        "url": side.url,
        "password": PASSWORD,
        "read_token": READ,
        "decide_token": DECIDE,
    }
    with side.serve(site.app(**access)):
        yield side.url


def logged_in(app: Flask) -> FlaskClient:
    """A browser that has logged in, and sends what browsers send with forms of the page."""
    client = app.test_client()
    client.environ_base["HTTP_SEC_FETCH_SITE"] = "same-origin"
    assert client.post("/login", data={"password": PASSWORD}).status_code == 303
    return client


def field(page: TestResponse, name: str) -> str:
    """The value of a hidden field."""
    return page.text.split(f'name="{name}" value="')[1].split('"')[0]
