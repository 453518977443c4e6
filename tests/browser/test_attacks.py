"""Other pages, in the same browser, that would decide in the name of who has logged in."""

import random
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page

from feedwatch.core.episode import State
from tests.browser.conftest import log_in
from tests.page_site import PageSite
from tests.support import FeedServer

PIECES = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    '"><svg onload=alert(3)>',
    "javascript:alert(4)",
    "'-alert(5)-'",
    "</title><iframe srcdoc='<script>parent.alert(6)</script>'>",
    "\u202e\u2066",
    "&lt;script&gt;",
    "{{7*7}}",
    "\x00\x1b[31m",
    "%3Cscript%3E",
    "<style>*{display:none}</style>",
    "<base href=//evil.example>",
    "<form action=//evil.example><button>",
    "<a href=javascript:alert(7)>x</a>",
    "Episode 7",
)
HOSTS = {"another port": "127.0.0.1", "another host": "localhost"}


@pytest.fixture(params=list(HOSTS.values()), ids=list(HOSTS))
def attacker(request: pytest.FixtureRequest) -> Iterator[FeedServer]:
    """A web server of somebody else's, under an address that is nearly the page's."""
    with FeedServer(request.param) as server:
        yield server


def attack(logged_in: Page, server: FeedServer, html: str) -> Page:
    """Have the browser open a page of the attacker's, and let it do its work.

    In a tab of its own: what its console says is not the page's.
    """
    page = logged_in.context.new_page()
    server.serve(html.encode(), path="/attack", content_type="text/html")
    page.goto(server.url_of("/attack"))
    page.wait_for_load_state("networkidle")
    return page


def test_a_form_that_sends_itself_does_nothing(
    page: Page, address: str, site: PageSite, attacker: FeedServer
) -> None:
    form = f'<form method="post" action="{address}/pause"></form>'
    attack(page, attacker, f"{form}<script>document.forms[0].submit()</script>")
    assert not site.store.breakers.get("inlet").paused


def test_a_fetch_that_reads_no_answer_does_nothing(
    page: Page, address: str, site: PageSite, attacker: FeedServer
) -> None:
    call = f"fetch('{address}/pause', {{method: 'POST', mode: 'no-cors', credentials: 'include'}})"
    attack(page, attacker, f"<script>{call}.catch(() => 0)</script>")
    assert not site.store.breakers.get("inlet").paused


def test_no_other_page_can_frame_it(page: Page, address: str, attacker: FeedServer) -> None:
    other = attack(page, attacker, f'<iframe src="{address}/"></iframe>')
    framed = [frame for frame in other.frames if frame.parent_frame is not None]
    assert all("Needs your decision" not in frame.content() for frame in framed)


def test_under_another_name_it_does_not_answer(
    context: BrowserContext, address: str, site: PageSite
) -> None:
    page = context.new_page()
    log_in(page, address)
    answer = page.goto(address.replace("127.0.0.1", "localhost"))
    assert answer is not None
    assert answer.status == 421


@pytest.mark.slow
def test_two_thousand_mutated_titles_run_no_script(
    page: Page, address: str, site: PageSite
) -> None:
    dice = random.Random(7)

    def text() -> str:
        return "".join(dice.choices(PIECES, k=dice.randint(1, 4)))

    ids = site.add(
        *(
            site.episode(text(), State.HELD, reason=text(), description=text(), guid=text())
            for _ in range(2000)
        )
    )
    page.goto(f"{address}/")
    for number in ids[::50]:
        page.goto(f"{address}/episodes/{number}")
    after = ""
    for _ in range(40):
        page.goto(f"{address}/episodes?state=held{after}")
        found = page.locator("a[rel=next]")
        if found.count() == 0:
            break
        after = "&after=" + str(found.get_attribute("href")).partition("after=")[2].split("&")[0]
    assert page.evaluate("document.querySelectorAll('script').length") == 1
    # The fixture fails at a dialog, and at what the console says of a script that was not let run.
