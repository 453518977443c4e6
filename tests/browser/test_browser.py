"""The page as a person has it: with and without JavaScript, by keyboard, on a telephone."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect

from feedwatch.core.episode import State
from tests.browser.conftest import log_in
from tests.page_site import PageSite
from tests.support import one_in

PATHS = (
    "/",
    "/feeds",
    "/feeds/show",
    "/episodes",
    "/episodes?q=nothing+like+it",
    "/log",
    "/settings",
    "/feeds/show/approve",
    "/feeds/none",
)


def id_of(site: PageSite, title: str) -> int:
    return next(one.id for one in site.store.episodes.find() if one.title == title)


def violations(page: Page) -> list[str]:
    found: dict[str, Any] = Axe().run(page).response
    return [
        f"{one['id']}: {one['help']} at {one['nodes'][0]['target']}" for one in found["violations"]
    ]


@pytest.mark.parametrize("scheme", one_in(2, ["light", "dark"]))
def test_axe_finds_nothing_on_any_page(
    page: Page, address: str, site: PageSite, scheme: Any
) -> None:
    page.emulate_media(color_scheme=scheme)
    paths = [*PATHS, *(f"/episodes/{one.id}" for one in site.store.episodes.find())]
    paths.append(f"/episodes/{id_of(site, 'The unknown one')}/retry")
    found = {}
    for path in paths:
        page.goto(f"{address}{path}")
        if wrong := violations(page):
            found[path] = wrong
    page.get_by_role("button", name="Log out").click()
    if wrong := violations(page):
        found["/login"] = wrong
    assert found == {}


def faults(page: Page) -> list[str]:
    """What axe finds, in the light and in the dark, and whether a telephone has to scroll."""
    found = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found += violations(page)
    page.set_viewport_size({"width": 320, "height": 640})
    wide = page.evaluate("document.documentElement.scrollWidth")
    page.set_viewport_size({"width": 1280, "height": 720})
    return [*found, f"{wide} pixels wide"] if wide > 320 else found


def test_axe_finds_nothing_while_there_is_nothing(
    page: Page, address: str, site: PageSite, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(tmp_path / "a.db")) as db, db:
        db.execute("delete from history")
        db.execute("delete from identities")
        db.execute("delete from episodes")
    found = {}
    for path in ("/", "/feeds/show", "/episodes", "/log", "/feeds/show/approve"):
        page.goto(f"{address}{path}")
        found[path] = faults(page)
    assert not any(found.values()), found


def test_axe_finds_nothing_while_one_decides(page: Page, address: str, site: PageSite) -> None:
    site.add(("W" * 400, State.HELD))
    number = id_of(site, "W" * 400)
    page.goto(f"{address}/episodes/{number}/approve")
    found = {"approve of one": faults(page)}
    before = site.store.episodes.get(number)
    assert before is not None
    site.store.episodes.save(before, replace(before, state=State.SKIPPED), site.now)
    page.get_by_role("button", name="Approve and submit").click()
    expect(page.get_by_role("heading", level=1, name="Nothing was done")).to_be_visible()
    found["stale"] = faults(page)
    page.goto(address)
    page.get_by_role("button", name="Pause submissions").click()
    expect(page.get_by_role("button", name="Resume submissions")).to_be_visible()
    found["paused"] = faults(page)
    page.get_by_role("button", name="Log out").click()
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("Wrong password")
    found["wrong password"] = faults(page)
    assert not any(found.values()), found


def test_axe_finds_nothing_in_trouble(
    page: Page, address: str, site: PageSite, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(tmp_path / "a.db")) as db, db:
        failing = "error = 'refused: it answers with something long', failures = 3"
        db.execute(f"update feeds set {failing}, hub = 'https://hub.example.org/', hub_topic = 'x'")
    found = {}
    for path in ("/", "/feeds", "/feeds/show"):
        page.goto(f"{address}{path}")
        found[path] = faults(page)
    expect(page.locator("#hub")).to_be_visible()
    page.locator("#dry-run").click()
    expect(page.get_by_role("alert")).to_be_visible()
    found["dry run"] = faults(page)
    page.goto(f"{address}/settings")
    page.locator("#doctor").click()
    expect(page.get_by_text("0 s off")).to_be_visible()
    found["doctor"] = faults(page)
    with closing(sqlite3.connect(tmp_path / "a.db")) as db:
        db.execute("drop table departures")
    answer = page.goto(f"{address}/feeds/show")
    assert answer is not None
    assert answer.status == 503
    found["503"] = faults(page)
    assert not any(found.values()), found


def test_what_is_held_is_approved_and_seen_ready_live(
    page: Page, address: str, site: PageSite
) -> None:
    number = id_of(site, "The held one")
    page.get_by_role("button", name="Approve The held one").click()
    expect(page.get_by_role("heading", level=1, name="Approve 1 episode?")).to_be_visible()
    assert site.state(number) is State.HELD
    page.get_by_role("button", name="Approve and submit").click()
    expect(page.get_by_role("status")).to_contain_text("Approved: 1 episode")
    expect(page.locator("#progress")).to_contain_text("The held one")
    before = site.store.episodes.get(number)
    assert before is not None
    ready = site.episode("The held one", State.READY, id=number, version=before.version)
    site.store.episodes.save(before, ready, site.now)
    expect(page.locator("#ready")).to_contain_text("The held one")  # by itself


def test_the_focus_goes_to_the_next_row(page: Page, site: PageSite) -> None:
    buttons = page.locator("#decide .row button")
    rows = page.locator("#decide .row").all_inner_texts()
    assert len(rows) == 2
    buttons.nth(1).click()  # skip the first
    expect(page.get_by_role("status")).to_contain_text("Skipped")
    focused = page.evaluate("document.activeElement.textContent")
    assert "Approve" in focused


def test_an_unknown_one_is_adopted_by_keyboard_alone(page: Page, site: PageSite) -> None:
    number = id_of(site, "The unknown one")
    for _ in range(100):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.name") == "media_id":
            break
    page.keyboard.type("media-77")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("Adopted")
    assert site.state(number) is State.PROCESSING
    episode = site.store.episodes.get(number)
    assert episode is not None
    assert episode.media_id == "media-77"


def test_a_stale_tab_does_nothing(
    page: Page, context: BrowserContext, address: str, site: PageSite
) -> None:
    number = id_of(site, "The held one")
    other = context.new_page()
    other.goto(f"{address}/episodes/{number}/approve")
    page.get_by_role("button", name="Skip The held one").click()
    expect(page.get_by_role("status")).to_be_visible()
    other.get_by_role("button", name="Approve and submit").click()
    expect(other.get_by_role("heading", level=1, name="Nothing was done")).to_be_visible()
    expect(other.get_by_role("alert")).to_contain_text("it is now skipped")
    assert site.state(number) is State.SKIPPED


def test_a_double_click_submits_once(page: Page, address: str, site: PageSite) -> None:
    number = id_of(site, "The held one")
    page.goto(f"{address}/episodes/{number}/approve")
    page.get_by_role("button", name="Approve and submit").dblclick()
    expect(page.get_by_role("heading", level=1)).not_to_have_text("Approve 1 episode?")
    assert site.state(number) is State.QUEUED
    assert [entry.state for entry in site.store.episodes.history(number)].count(State.QUEUED) == 1


def test_everything_works_without_javascript(
    chromium: Browser, address: str, site: PageSite
) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    log_in(page, address)
    page.get_by_role("button", name="Approve The held one").click()
    page.get_by_role("button", name="Approve and submit").click()
    expect(page.get_by_role("status")).to_contain_text("Approved")
    page.get_by_role("button", name="Skip Second held").click()
    expect(page.get_by_role("link", name="Undo")).to_be_visible()
    page.get_by_role("button", name="Pause submissions").click()
    expect(page.get_by_role("button", name="Resume submissions")).to_be_visible()
    context.close()
    assert site.store.breakers.get("inlet").paused


def test_a_telephone_shows_it_without_scrolling_sideways(
    page: Page, address: str, site: PageSite
) -> None:
    site.add(("W" * 400, State.HELD))
    page.set_viewport_size({"width": 320, "height": 640})
    for path in PATHS:
        page.goto(f"{address}{path}")
        assert page.evaluate("document.documentElement.scrollWidth") <= 320, path


def test_the_script_keeps_the_focus_and_what_is_open(page: Page, site: PageSite) -> None:
    page.locator("#approve-1").focus()
    site.add(("Came while one looked", State.HELD))
    expect(page.locator("#decide")).to_contain_text("Came while one looked")
    assert page.evaluate("document.activeElement.id") == "approve-1"


def test_the_rhythm_is_a_picture_with_words(page: Page, address: str) -> None:
    page.goto(f"{address}/feeds/show")
    picture = page.get_by_role("img").first
    expect(picture).to_be_visible()
    assert len(picture.evaluate("one => one.outerHTML")) < 8192
    page.get_by_text("The same as a table").click()
    expect(page.locator("#rhythm-table table")).to_be_visible()
