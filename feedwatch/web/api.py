"""The JSON API: what `--json` gives, and the decisions. `openapi.yaml` describes it."""

import hashlib
import json
import re
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, NamedTuple

from flask import Blueprint, Response, g, request

from feedwatch.core.episode import Episode, State
from feedwatch.core.json_forms import (
    episode_json,
    event_json,
    feed_json,
    stamp,
    status_json,
    whole_episode_json,
)
from feedwatch.core.masking import masked_document
from feedwatch.core.pipeline import ORDER, Step
from feedwatch.watcher import decisions, overview
from feedwatch.watcher.check_requests import request_check
from feedwatch.watcher.decisions import Action, Proposal
from feedwatch.watcher.errors import RequestError
from feedwatch.watcher.repetitions import passing_over, repetition
from feedwatch.web.actions import proposed, proposed_for, set_paused
from feedwatch.web.auth import SAFE_METHODS, Guard, Scope
from feedwatch.web.pages import at, valid_id
from feedwatch.web.site import Parts

PROBLEM = "application/problem+json"
VERSION = re.compile(r'(?:W/)?"[^"]*"')  # an entity tag; a weak one is equal to none
VERSIONS = re.compile(rf"{VERSION.pattern}(?:\s*,\s*{VERSION.pattern})*")
v1 = Blueprint("api", __name__)

PARAMETERS = {  # that each function takes
    "feeds": {"after", "limit"},
    "episodes": {"feed", "state", "after", "limit"},
    "ready": {"feed", "since", "after", "limit"},
    "history": {"feed", "after", "limit"},
    "decide": {"dry_run"},
    "decide_all": {"dry_run"},
}

MAX_LIMIT, LIMIT = 500, 100


@v1.get("/status")
def status() -> Response:
    """The state of everything."""
    parts = g.parts
    current = overview.status(parts.store, parts.plan(), at(), parts.journal)
    return answer(status_json(current))


@v1.get("/feeds")
def feeds() -> Response:
    """All feeds."""
    found = all_feeds(g.parts)
    names = [name for name in found if name > request.args.get("after", "")]
    limit = whole_number("limit", LIMIT, 1, MAX_LIMIT)
    more = names[limit - 1] if len(names) > limit else None
    return answer({"items": [found[name] for name in names[:limit]], "next": more})


@v1.get("/feeds/<name>")
def feed(name: str) -> Response:
    """One feed."""
    sources = g.parts.plan().sources.values()
    known = overview.find_feed(g.parts.store, sources, name)
    return answer(all_feeds(g.parts)[known])


@v1.get("/episodes")
def episodes() -> Response:
    """All episodes."""
    word = request.args.get("state")
    if word is not None and word not in tuple(State):
        raise BadRequestError(f"state: expected one of {', '.join(State)}")
    return answer(episodes_page([State(word)] if word else []))


@v1.get("/ready")
def ready() -> Response:
    """The episodes that are ready."""
    return answer(episodes_page([State.READY], moment("since")))


@v1.get("/episodes/<int:number>")
def episode(number: int) -> Response:
    """One episode."""
    found = overview.find_episode(g.parts.store, valid_id(number))
    response = answer(whole(g.parts, found))
    response.headers["ETag"] = f'"{found.version}"'
    return response


@v1.get("/history")
def history() -> Response:
    """What happened, newest first."""
    limit = whole_number("limit", LIMIT, 1, MAX_LIMIT)
    feed = request.args.get("feed")
    found = g.parts.store.listings.events(
        limit + 1, after=whole_number("after", None, 0), feed=feed.lower() if feed else None
    )
    more = str(found[limit - 1].id) if len(found) > limit else None
    return answer({"items": [event_json(one) for one in found[:limit]], "next": more})


@v1.get("/openapi.yaml")
def openapi() -> Response:
    """The description of this API."""
    text = files("feedwatch.web").joinpath("openapi.yaml").read_bytes()
    return Response(text, content_type="application/yaml")


@v1.post("/episodes/<int:number>/approve")
@v1.post("/episodes/<int:number>/skip")
@v1.post("/episodes/<int:number>/retry")
@v1.post("/episodes/<int:number>/adopt")
def decide(number: int) -> Response:
    """Decide about an episode."""
    action = Action(request.path.rpartition("/")[2])
    episode = overview.find_episode(g.parts.store, valid_id(number))
    media_id = body_text("media_id") if action is Action.ADOPT else ""
    wanted = wanted_of_steps(action)
    if not is_dry_run() and (refused := version_refused(str(episode.version))) is not None:
        return refused
    if action is Action.ADOPT:
        return decided(g.parts.adopt(episode.id, media_id, at()))
    about_steps = proposed_of_steps(wanted, episode.id)
    if about_steps is None and action is Action.RETRY and not is_dry_run():
        return decided(g.parts.retry(episode.id, at()))
    return decided(about_steps or proposed(g.parts, action, number))


class Wanted(NamedTuple):
    """What the body asks for besides the decision itself: to pass a step over, or to repeat it."""

    passing_over: bool = False
    again: bool = False
    start: Step | None = None


def wanted_of_steps(action: Action) -> Wanted:
    """What the body asks for about steps."""
    if action is Action.SKIP:
        return Wanted(passing_over=body_flag("step"))
    if action is Action.RETRY:
        return Wanted(again=body_flag("again"), start=body_step("from"))
    return Wanted()


def proposed_of_steps(wanted: Wanted, number: int) -> Proposal | None:
    """What that would do; None if nothing of it is wanted."""
    store, plan = g.parts.store, g.parts.plan()
    if wanted.passing_over:
        return passing_over(store, plan, [number], at())
    if wanted.again or wanted.start is not None:
        return repetition(store, plan, [number], at(), g.parts.targets_of, wanted.start)
    return None


@v1.post("/feeds/<name>/approve")
@v1.post("/feeds/<name>/skip")
def decide_all(name: str) -> Response:
    """Decide about all held episodes of a feed."""
    proposal = proposed_for(g.parts, Action(request.path.rpartition("/")[2]), name)
    if not is_dry_run() and (refused := version_refused(proposal.version)) is not None:
        return refused
    return decided(proposal)


@v1.post("/pause", defaults={"name": None})
@v1.post("/resume", defaults={"name": None})
@v1.post("/feeds/<name>/pause")
@v1.post("/feeds/<name>/resume")
def pause(name: str | None) -> Response:
    """Stop or restart new submissions."""
    paused = request.path.endswith("/pause")
    set_paused(g.parts, name, g.actor, paused=paused)
    return answer({"feed": name.lower() if name else None, "paused": paused})


@v1.post("/feeds/<name>/check")
def check(name: str) -> Response:
    """Make a feed due: its publisher says that it has changed."""
    sources = g.parts.plan().sources
    due_at = request_check(g.parts.store, sources, name.lower(), at())
    return answer({"feed": name.lower(), "due_at": stamp(due_at)}, 202)


class BadRequestError(RequestError):
    """A parameter or a body is wrong; `str()` says which, and what was expected."""


def admit(guard: Guard, parts: Parts | None) -> Response | None:
    """Nothing if the request may go on; else why not.

    A session may read; what changes something takes a token, which no other page can have sent.
    """
    if parts is None:
        return problem(503, "starting", "the database is being opened")
    scope = guard.bearer(request)
    if scope is None and request.method in SAFE_METHODS and guard.person(request) is not None:
        scope = Scope.READ
    if not scope:
        response = problem(401, "unauthorized", "expected Authorization: Bearer TOKEN")
        response.headers["WWW-Authenticate"] = "Bearer"
        return response
    g.actor = "api"
    if request.method not in SAFE_METHODS and scope < Scope.DECIDE:
        return problem(403, "forbidden", "this token may read, not decide")
    return None


@v1.before_request
def refuse_unknown_parameters() -> None:
    """A parameter that nothing reads is an error: it was meant to choose something."""
    known = PARAMETERS.get((request.endpoint or "").removeprefix("api."), set())
    unknown = sorted(set(request.args) - known)
    if unknown:
        wanted = ", ".join(sorted(known)) or "none"
        raise BadRequestError(f"unknown parameter {unknown[0]!r}; known are: {wanted}")


def answer(document: Any, status: int = 200) -> Response:
    """A document without secrets; 304 where the asker has it already."""
    text = json.dumps(masked_document(document), ensure_ascii=False)
    response = Response(text, status, content_type="application/json")
    if request.method in SAFE_METHODS:
        response.set_etag(hashlib.sha256(text.encode()).hexdigest()[:32])
        response.make_conditional(request)
    return response


def problem(status: int, title: str, detail: str, **more: Any) -> Response:
    """Why there is no other answer (RFC 9457)."""
    document = {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}
    text = json.dumps(masked_document(document), ensure_ascii=False)
    return Response(text, status, content_type=PROBLEM)


def all_feeds(parts: Parts) -> dict[str, Any]:
    """Each feed by its name, also those that the config has no longer."""
    store = parts.store
    breaker, counted = parts.breaker(), store.statistics.by_feed()
    changes, served = store.feeds.url_changes(), store.documents.all()
    subscribed = store.subscriptions.by_feed()
    known = {feed.name: feed for feed in store.feeds.all()}
    known |= overview.configured_feeds(store, parts.plan().sources.values())
    return {
        name: feed_json(
            *(feed, breaker, counted.get(name), changes.get(name, ())),
            *(served.get(name), subscribed.get(feed.id)),
        )
        for name, feed in sorted(known.items())
    }


def episodes_page(states: list[State], since: datetime | None = None) -> dict[str, Any]:
    """A part of the episodes, by the parameters of the request."""
    limit = whole_number("limit", LIMIT, 1, MAX_LIMIT)
    feed = request.args.get("feed")
    found = g.parts.store.listings.episodes(
        limit + 1,
        feed=feed.lower() if feed else None,
        states=states,
        after=whole_number("after", None, 0),
        ready_since=since,
    )
    more = str(found[limit - 1].id) if len(found) > limit else None
    return {"items": [with_version(one) for one in found[:limit]], "next": more}


def with_version(episode: Episode) -> dict[str, Any]:
    """An episode, with the version that a decision about it needs."""
    return episode_json(episode) | {"version": str(episode.version)}


def whole(parts: Parts, episode: Episode) -> dict[str, Any]:
    """All that is kept of an episode, as `show --json` gives it, with its version."""
    keys = parts.store.episodes.keys(episode.id)
    history = parts.store.episodes.history(episode.id)
    placing = overview.placing_of(parts.store, parts.plan(), episode)
    ended = parts.store.episodes.ended_steps(episode.id)
    whole = whole_episode_json(episode, keys, history, placing, ended)
    return whole | {"version": str(episode.version)}


def version_refused(version: str) -> Response | None:
    """Why the request may not decide about this version; nothing if it may."""
    given = request.headers.get("If-Match", "").strip()
    if not VERSIONS.fullmatch(given):
        # Also `*`, which is true of whatever there is (RFC 9110, 13.1.1): it was not seen.
        detail = "If-Match names no version: send the one that you have seen, in quotes"
        return problem(428, "precondition required", detail)
    if f'"{version}"' not in VERSION.findall(given):
        detail = "this has changed since; look at it again"
        return problem(412, "nothing was done", detail, version=version)
    return None


def decided(proposal: Proposal) -> Response:
    """Carry out a proposal, unless only the proposal is asked for."""
    dry_run = is_dry_run()
    parts = g.parts
    if not dry_run and decisions.carry_out(parts.store, proposal, g.actor, at(), parts.journal):
        return problem(412, "nothing was done", "this has changed since; look at it again")
    moves = [
        {"id": before.id, "title": before.title, "from": before.state, "to": after.state}
        for before, after in (*proposal.moves, *proposal.done)
    ]
    document = {"action": proposal.action, "costs_money": proposal.costs, "moves": moves}
    document |= {"warnings": proposal.warnings, "done": not dry_run, "version": proposal.version}
    return answer(document)


def is_dry_run() -> bool:
    """Whether only the proposal is asked for."""
    word = request.args.get("dry_run", "false")
    if word not in ("true", "false"):
        raise BadRequestError("dry_run: expected true or false")
    return word == "true"


def whole_number(name: str, default: Any, least: int, most: int = 2**63 - 1) -> Any:
    """A whole number among the parameters."""
    text = request.args.get(name)
    if text is None:
        return default
    found = int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else -1
    if not least <= found <= most:
        raise BadRequestError(f"{name}: expected a whole number from {least} to {most}")
    return found


def moment(name: str) -> datetime | None:
    """A time among the parameters."""
    text = request.args.get(name)
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadRequestError(f"{name}: expected a time, as 2026-01-31T12:00:00Z") from error
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def body() -> dict[str, Any]:
    """The request's JSON object; an empty one where it has no body.

    What cannot be read is refused: without it, the decision would be another one.
    """
    document = request.get_json(force=True, silent=True) if request.get_data() else {}
    if not isinstance(document, dict):
        raise BadRequestError("expected a JSON object as the body, or no body")
    return document


def body_flag(name: str) -> bool:
    """A flag of the request's JSON object, if it has one."""
    flag = body().get(name, False)
    if not isinstance(flag, bool):
        raise BadRequestError(f"{name}: expected true or false")
    return flag


def body_step(name: str) -> Step | None:
    """A step in the request's JSON object, if it has one."""
    document = body()
    if name not in document:
        return None
    if document[name] not in ORDER:
        raise BadRequestError(f"{name}: expected one of {', '.join(ORDER)}")
    return Step(document[name])


def body_text(name: str) -> str:
    """A text of the request's JSON object."""
    document = request.get_json(silent=True)
    text = document.get(name) if isinstance(document, dict) else None
    if not isinstance(text, str) or not decisions.MEDIA_ID.fullmatch(text):
        raise BadRequestError(
            f'expected a JSON object, {{"{name}": "…"}}: letters, digits, - and _'
        )
    return text
