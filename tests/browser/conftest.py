"""A browser, and the page in it. Where there is no chromium, these tests say so and are skipped."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from feedwatch.core.episode import State
from tests.page_site import PASSWORD, PageSite, page_site, served_page
from tests.support import PATIENCE

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
MISSING = "no chromium here: apt install chromium"


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The browser, one for all tests of a process."""
    if CHROMIUM is None:
        pytest.skip(MISSING)
    expect.set_options(timeout=PATIENCE * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[PageSite]:
    """A page with episodes in all states."""
    with page_site(tmp_path / "a.db") as site:
        site.add(*((f"The {state} one", state) for state in State))
        site.add(("Second held", State.HELD))
        yield site


@pytest.fixture
def address(site: PageSite) -> Iterator[str]:
    """Where it is served."""
    with served_page(site) as url:
        yield url


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    """A browser of its own, without any cookie."""
    # Axe would measure the colours of a button on its way from one scheme to the other.
    context = chromium.new_context(reduced_motion="reduce")
    context.set_default_timeout(PATIENCE * 1000)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, address: str) -> Iterator[Page]:
    """A tab that has logged in; a message on its console, or a dialog, fails the test."""
    page, complaints = context.new_page(), list[str]()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    log_in(page, address)
    yield page
    errors = [
        one for one in complaints if "status of " not in one
    ]  # a 409 or a 503 that was wanted
    assert errors == []


def log_in(page: Page, address: str) -> None:
    """Open the page and log in."""
    page.goto(address)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", level=1, name="Now")).to_be_visible()
