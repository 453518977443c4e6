"""The pages: what can be looked at. Nothing here changes anything but a session."""

import re
from collections.abc import Sequence
from datetime import datetime
from itertools import groupby, pairwise
from typing import Any

from flask import Blueprint, Response, g, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from feedwatch.core.circuit_breaker import CircuitBreaker
from feedwatch.core.episode import Episode, State
from feedwatch.core.feed import Feed
from feedwatch.core.feed_lifecycle import feed_state
from feedwatch.core.json_forms import counts, remark, submissions_in_words
from feedwatch.core.printable import counted
from feedwatch.core.rhythm import SPAN, came, gaps, rhythm_in_words
from feedwatch.watcher import overview
from feedwatch.watcher.decisions import Action, is_possible, version_of
from feedwatch.web import rhythm, words
from feedwatch.web.site import Parts

page = Blueprint("page", __name__)

PAGE_SIZE = 50
MOST_HISTORY = 200  # entries of one episode; the API has all
FEEDS_PAGE_SIZE = 40
HIGHEST_ID = 2**63 - 1
LOCAL_PATH = re.compile(r"/(?![/\\])[\w/?=&.,%+-]*", re.ASCII)
STATES = tuple(State)
SORTS = ("name", "state", "last", "next", "held")
DONE = {  # what was done, by the word in the address that one is sent to
    "approve": "Approved: {n} will be submitted.",
    "retry": "Queued: {n} will be submitted again.",
    "skip": "Skipped: {n} will not be submitted.",
    "ready": "Its job turned out to be done: it is ready, and nothing was paid.",
    "adopt": "Adopted: its job is polled from now on.",
    "pause": "New submissions are paused.",
    "resume": "New submissions are on.",
    "resume_but": "New submissions are on, but not of what is paused on its own: {feeds}.",
    "check": "The feed is due and will be checked in a moment.",
}


@page.get("/login", endpoint="login")
def show_login() -> Response | AnyResponse:
    """The form to log in."""
    if g.guard.access.password is None:
        return redirect(url_for("page.now"), 303)
    return Response(render("login.html", to=local(request.args.get("to"))))


@page.post("/login")
def log_in() -> Response | AnyResponse:
    """Begin a session, if the password is right."""
    if g.parts is None or g.guard.access.password is None:
        return Response(render("login.html", wrong="Not ready yet; try again"), 503)
    to = local(request.form.get("to"))
    if g.guard.logins.is_reached(request.remote_addr or ""):
        wrong = "Too many attempts; wait a minute"
        return Response(render("login.html", to=to, wrong=wrong), 429, {"Retry-After": "60"})
    if not g.guard.is_password(request.form.get("password", "")):
        return Response(render("login.html", to=to, wrong="Wrong password"), 403)
    answer = redirect(to, 303)
    g.guard.log_in(g.parts, answer)
    return answer


@page.post("/logout")
def log_out() -> AnyResponse:
    """End the session."""
    answer = redirect(url_for("page.login"), 303)
    g.guard.log_out(g.parts, request, answer)
    return answer


@page.get("/", endpoint="now")
def show_now() -> str:
    """What needs a person, what is under way, what is ready."""
    parts: Parts = g.parts
    desk = overview.desk(parts.store, parts.plan().processors, at())
    held = by_feed_and_reason(desk.held)
    ids = [one.id for _, _, episodes in held for one in episodes]
    submissions = submissions_in_words(desk.breaker, desk.next_due_at, at())
    return render(
        "now.html", desk=desk, held=held, next_of=dict(pairwise(ids)), submissions=submissions
    )


@page.get("/feeds", endpoint="feeds")
def show_feeds() -> str:
    """All feeds."""
    return render("feeds.html", **feeds_shown(g.parts, at()))


@page.get("/feeds/<name>", endpoint="feed")
def show_feed(name: str) -> str:
    """One feed."""
    return render("feed.html", **feed_shown(g.parts, name, at()))


@page.get("/episodes", endpoint="episodes")
def show_episodes() -> str:
    """All episodes."""
    return render("episodes.html", **episodes_shown(g.parts))


@page.get("/episodes/<int:number>", endpoint="episode")
def show_episode(number: int) -> str:
    """One episode."""
    store = g.parts.store
    found = overview.find_episode(store, valid_id(number))
    allowed = {action.value for action in Action if is_possible(action, found, at())}
    history, keys = store.episodes.history(found.id), store.episodes.keys(found.id)
    return render(
        "episode.html",
        episode=found,
        allowed=allowed,
        history=history[-MOST_HISTORY:],
        earlier=len(history[:-MOST_HISTORY]),
        known_by=keys,
        placing=overview.placing_of(store, g.parts.plan(), found),
    )


@page.get("/log", endpoint="log")
def show_log() -> str:
    """The history of all episodes."""
    found = g.parts.store.listings.events(PAGE_SIZE + 1, after=after())
    last = found[PAGE_SIZE - 1].id if len(found) > PAGE_SIZE else None
    return render("log.html", events=found[:PAGE_SIZE], next_after=last)


@page.get("/settings", endpoint="settings")
def show_settings() -> str:
    """The settings, in words."""
    plan = g.parts.plan()
    feeds = {name: words.feed_in_words(config) for name, config in plan.sources.items()}
    number = after() or 0
    names = sorted(feeds)[number : number + PAGE_SIZE]
    return render(
        "settings.html",
        facts=g.parts.facts,
        policy=words.policy_in_words(plan.policy),
        feeds={name: feeds[name] for name in names},
        next_after=number + PAGE_SIZE if len(feeds) > number + PAGE_SIZE else None,
    )


def render(template: str, **values: Any) -> str:
    """A page, with what every page has: the time, who looks, what was just done."""
    undo = valid_number(request.args.get("id", "")) if request.args.get("did") == "skip" else 0
    every = {"now": g.now, "actor": g.get("actor"), "said": said(), "undo": undo}
    return render_template(template, **every, **values)


def at() -> datetime:
    """The time of this request: one for all that it shows."""
    moment: datetime = g.now
    return moment


def local(path: str | None) -> str:
    """A path of this site; the first page where it is none."""
    home = url_for("page.now")
    if path is None or not LOCAL_PATH.fullmatch(path):
        return home
    return path if path.startswith(home) else home.rstrip("/") + path


def said() -> str | None:
    """What the last request did, as the address tells."""
    words = DONE.get(request.args.get("did", ""))
    if words is None:
        return None
    number = valid_number(request.args.get("n", "") or "1")
    return words.format(n=counted(number, "episode"), feeds=counted(number, "feed"))


def valid_number(text: str) -> int:
    """A number of a query, however wrong it is."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else 0


def valid_id(number: int) -> int:
    """The id of an episode, as far as a database takes it for a number."""
    return min(number, HIGHEST_ID)


def after() -> int | None:
    """Where a list goes on."""
    return valid_number(request.args.get("after", "")) or None


def by_feed_and_reason(held: Sequence[Episode]) -> list[tuple[str, str | None, list[Episode]]]:
    """Held episodes in groups, each with its feed and reason."""
    ordered = sorted(held, key=lambda one: (one.feed, one.reason or ""))
    groups = groupby(ordered, key=lambda one: (one.feed, one.reason))
    return [(feed, reason, list(episodes)) for (feed, reason), episodes in groups]


def feeds_shown(parts: Parts, now: datetime) -> dict[str, Any]:
    """A part of the feeds, by the filter and the order in the address."""
    sources, store = parts.plan().sources, parts.store
    breaker, by_feed = parts.breaker(), store.statistics.by_feed()
    wanted = request.args.get("filter", "").strip().lower()
    sort = request.args.get("sort", "")
    feeds = overview.configured_feeds(store, sources.values()).values()
    found = sorted(
        (feed for feed in feeds if wanted in feed.name), key=lambda feed: order(feed, breaker, sort)
    )
    held = {name: counts(one)["held"] for name, one in by_feed.items()}
    if sort == "held":
        found.sort(key=lambda feed: -held.get(feed.name, 0))
    number = after() or 0
    shown = found[number : number + FEEDS_PAGE_SIZE]
    published = store.listings.published([one.name for one in shown], now - SPAN)
    out_of = {name: came(found, now) for name, found in published.items()}
    rows = [
        {
            "feed": feed,
            "state": feed_state(feed, breaker),
            "remark": remark(feed),
            "strip": rhythm.strip(published.get(feed.name, ()), now),
            "last": max((one.at for one in out_of.get(feed.name, ())), default=None),
            "counts": counts(by_feed.get(feed.name)),
        }
        for feed in shown
    ]
    more = number + FEEDS_PAGE_SIZE if len(found) > number + FEEDS_PAGE_SIZE else None
    chosen = {"filter": wanted, "sort": sort, "sorts": SORTS}
    return {"rows": rows, "total": len(found), "next_after": more, **chosen}


def order(feed: Feed, breaker: CircuitBreaker, sort: str) -> tuple[Any, ...]:
    """What feeds are sorted by; those of which it is not known come last."""
    match sort:
        case "state":
            return (feed_state(feed, breaker), feed.name)
        case "last":
            moment = feed.last_new_at
            return (moment is None, -moment.timestamp() if moment is not None else 0, feed.name)
        case "next":
            moment = feed.due_at
            return (moment is None, moment.timestamp() if moment is not None else 0, feed.name)
    return (feed.name,)


def feed_shown(parts: Parts, name: str, now: datetime) -> dict[str, Any]:
    """All that is shown of one feed."""
    store, sources = parts.store, parts.plan().sources
    name = overview.find_feed(store, sources.values(), name)
    feed = store.feeds.named(name) or Feed(name=name, url=sources[name].url)
    published = store.listings.published([name], now - SPAN).get(name, [])
    held = store.episodes.find(feed=name, states=[State.HELD])
    return {
        "feed": feed,
        "is_configured": name in sources,
        "state": feed_state(feed, parts.breaker()),
        "remark": remark(feed),
        "rules": words.feed_in_words(sources[name]) if name in sources else [],
        "picture": rhythm.picture(published, feed, now),
        "rhythm": rhythm_in_words(published, feed, now),
        "gaps": gaps(came(published, now)),
        "published": published[-PAGE_SIZE:][::-1],
        "checks": rhythm.checks(feed),
        "check_words": [rhythm.CHECK_WORDS[mark] for mark in feed.recent_checks or ""],
        **served_shown(parts, name),
        "subscription": store.subscriptions.by_feed().get(feed.id),
        "url_changes": store.feeds.url_changes().get(name, []),
        "held": held[:PAGE_SIZE],
        "next_of": {one.id: other.id for one, other in pairwise(held[:PAGE_SIZE])},
        "held_total": len(held),
        "held_version": version_of(held),
        "counts": store.listings.counts(feed=name),
    }


def served_shown(parts: Parts, name: str) -> dict[str, Any]:
    """Where a feed is served to listeners, and what became of its last good document."""
    config, kept = parts.plan().sources.get(name), parts.store.documents.all().get(name)
    if parts.public_url is None or config is None:
        return {"served": None}
    path = config.served_path
    url = f"{parts.public_url}{path}" if path is not None else None
    return {"served": {"url": url, "has_key": config.serving.serve_key is not None, "kept": kept}}


def episodes_shown(parts: Parts) -> dict[str, Any]:
    """A part of the episodes, by what the address asks for."""
    word, feed = request.args.get("state", ""), request.args.get("feed", "").strip().lower()
    words, store = request.args.get("q", "").strip()[:200], parts.store
    states = [State(word)] if word in STATES else []
    found = store.listings.episodes(
        PAGE_SIZE + 1, feed=feed or None, states=states, words=words, after=after()
    )
    return {
        "episodes": found[:PAGE_SIZE],
        "next_after": found[PAGE_SIZE - 1].id if len(found) > PAGE_SIZE else None,
        "counts": store.listings.counts(feed=feed or None, words=words),
        "chosen": {"state": word if states else None, "feed": feed or None, "q": words or None},
    }
