"""Other pages, in the same browser, that would decide in the name of who has logged in."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from flask import render_template_string
from playwright.sync_api import BrowserContext, Page, expect

from feedwatch.core.episode import State
from feedwatch.web.server import HttpSide
from tests.browser.conftest import log_in
from tests.page_site import PASSWORD, PageSite
from tests.support import FeedServer, one_in, wait_for

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
    page.evaluate("form => document.body.insertAdjacentHTML('beforeend', form)", form)
    page.evaluate("[...document.forms].at(-1).submit()")
    wait_for(lambda: site.store.breakers.get("inlet").paused, what="the same form of the page")
    expect(page.get_by_role("status")).to_be_visible()


def test_a_fetch_that_reads_no_answer_does_nothing(
    page: Page, address: str, site: PageSite, attacker: FeedServer
) -> None:
    call = f"fetch('{address}/pause', {{method: 'POST', mode: 'no-cors', credentials: 'include'}})"
    attack(page, attacker, f"<script>{call}.catch(() => 0)</script>")
    assert not site.store.breakers.get("inlet").paused
    page.evaluate(f"async () => {{ await {call} }}")
    assert site.store.breakers.get("inlet").paused, "the same call of the page itself"


def test_no_other_page_can_frame_it(page: Page, address: str, attacker: FeedServer) -> None:
    attacker.serve(b"<p>A page of the attacker's", path="/own", content_type="text/html")
    frames = f'<iframe src="{address}/"></iframe><iframe src="/own"></iframe>'
    other = attack(page, attacker, frames)
    framed = [frame.content() for frame in other.frames if frame.parent_frame is not None]
    assert len(framed) == 2
    assert all("Needs your decision" not in content for content in framed)
    assert sum("A page of the attacker's" in content for content in framed) == 1


def test_under_another_name_it_does_not_answer(
    context: BrowserContext, address: str, site: PageSite
) -> None:
    page = context.new_page()
    log_in(page, address)
    answer = page.goto(address.replace("127.0.0.1", "localhost"))
    assert answer is not None
    assert answer.status == 421


DESCRIPTIONS = """{% extends "base.html" %}
{% block title %}Descriptions{% endblock %}
{% block main %}
<dl>{% for one in found %}<dd>{{ one.description|cut(12000)|paragraphs }}</dd>{% endfor %}</dl>
{% endblock %}"""


@contextmanager
def descriptions(site: PageSite) -> Iterator[str]:
    """The page, and fifty descriptions on one, shown as an episode's page shows one of them.

    Who has logged in at the other server has here, too: a cookie knows no port, and the database
    is the same.
    """
    side = HttpSide("127.0.0.1", 0)
    app = site.app(url=side.url, password=PASSWORD)
    found = site.store.episodes.find()

    def fifty(first: int) -> str:
        common = {"now": site.now, "actor": None, "said": None, "undo": 0}
        return render_template_string(DESCRIPTIONS, found=found[first:][:50], **common)

    app.add_url_rule("/descriptions/<int:first>", "page.descriptions", fifty)
    with side.serve(app):
        yield side.url


@pytest.mark.slow
@pytest.mark.parametrize("count", one_in(2, [400, 2000]))
def test_hundreds_of_mutated_titles_run_no_script(
    page: Page, address: str, site: PageSite, count: int
) -> None:
    dice = random.Random(7)

    def text() -> str:
        return "".join(dice.choices(PIECES, k=dice.randint(1, 4)))

    ids = site.add(
        *(
            site.episode(text(), State.HELD, reason=text(), description=text(), guid=text())
            for _ in range(count)
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
    with descriptions(site) as url:
        for number in range(0, count, 50):
            page.goto(f"{url}/descriptions/{number}")
            assert page.locator("main dd").count() == 50
            assert page.evaluate("document.querySelectorAll('script').length") == 1
    # The fixture fails at a dialog, and at what the console says of a script that was not let run.
