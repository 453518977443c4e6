"""The pictures of the pages in docs/pictures, made anew: `python -m tests.browser.pictures`."""

import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from playwright.sync_api import Browser, sync_playwright

from feedwatch.core.episode import State
from feedwatch.core.health import START
from feedwatch.daemon.metrics import Metrics
from feedwatch.store.lock import FileLock, lock_path
from feedwatch.web.app import application
from feedwatch.web.monitoring import Serving
from feedwatch.web.server import HttpSide
from tests.browser.conftest import CHROMIUM, MISSING, log_in
from tests.page_site import PASSWORD, PageSite, page_site

PICTURES = Path(__file__).parent.parent.parent / "docs" / "pictures"
DESK = {"width": 900, "height": 640}
PHONE = {"width": 320, "height": 640}
GUESTS = ("a beekeeper", "two bakers", "a night nurse", "the lighthouse keeper", "a map maker")


class Picture(NamedTuple):
    """What one shows."""

    path: str
    size: dict[str, int] = DESK
    scheme: str = "light"


def fill(site: PageSite, path: Path) -> dict[str, Picture]:
    """Episodes as a weekly show has them; which pictures are made of them."""
    weeks = [
        site.episode(
            f"{n}: A talk with {GUESTS[n % len(GUESTS)]}",
            State.FAILED if n == 20 else State.READY,
            published_at=site.now - timedelta(days=4 + 7 * (26 - n), hours=(5, 6, 6, 7)[n % 4]),
            reason=None,
        )
        for n in range(1, 27)
        if n not in (11, 12, 13)
    ]
    site.add(*weeks)
    reason = "new audio under a known guid; ON_REPLACED decides"
    (held,) = site.add(site.episode("26: A talk, mended", State.HELD, reason=reason))
    lost = "the API closed the connection before it answered"
    site.add(site.episode("27: A talk with a diver", State.UNKNOWN, reason=lost))
    site.add(site.episode("28: Questions of listeners", State.PROCESSING, reason=None))
    site.add(site.episode("The headlines of Monday", State.READY, reason=None), feed="show-1")
    marks, next_one = "snnnsnnncnnnsnnfnnnc" * 2, str(site.now + timedelta(days=3))[:19]
    with closing(sqlite3.connect(path)) as db, db:
        set_all = "update feeds set recent_checks = ?, expected_by = ? where name = 'show'"
        db.execute(set_all, [marks, f"{next_one}.000000"])
        failing = "update feeds set error = 'the server answered 503', failures = 3"
        db.execute(f"{failing} where name = 'show-2'")
    return {
        "now": Picture("/"),
        "feeds": Picture("/feeds"),
        "feed-dark": Picture("/feeds/show", scheme="dark"),
        "episode": Picture("/episodes/1"),
        "confirm": Picture(f"/episodes/{held}/approve", {"width": 900, "height": 420}),
        "log": Picture("/log", {"width": 900, "height": 360}),
        "settings": Picture("/settings"),
        "phone": Picture("/", PHONE),
    }


@contextmanager
def shown(site: PageSite, path: Path) -> Iterator[str]:
    """The page as beside a daemon that runs, with nothing on it of where this is done."""
    site.store.heartbeats.write({START: site.now}, site.now)
    side, lock = HttpSide("127.0.0.1", 0), FileLock(lock_path(path))
    made = site.site(url=side.url, password=PASSWORD)
    assert made.parts is not None
    facts = [("Database", "sqlite:////var/lib/feedwatch/feedwatch.db")]
    made.parts = replace(made.parts, facts=facts)
    try:
        with side.serve(application(made, Serving(Metrics(), list))):
            yield side.url
    finally:
        lock.release()


def take(browser: Browser, address: str, session: Any, name: str, picture: Picture) -> None:
    """One picture, of what one sees without scrolling."""
    size: Any = picture.size
    scheme: Any = picture.scheme
    context = browser.new_context(viewport=size, color_scheme=scheme, storage_state=session)
    page = context.new_page()
    page.goto(f"{address}{picture.path}")
    page.screenshot(path=PICTURES / f"page-{name}.png")
    context.close()


def main() -> None:
    """Make all of them."""
    if CHROMIUM is None:
        sys.exit(MISSING)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = Path(folder) / "a.db"
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        with page_site(path, feeds=4) as site:
            pictures = fill(site, path)
            with shown(site, path) as address:
                context = browser.new_context()
                log_in(context.new_page(), address)
                session = context.storage_state()  # one login: five a minute are enough
                for name, picture in pictures.items():
                    take(browser, address, session, name, picture)
        browser.close()


if __name__ == "__main__":
    main()
