"""What a person decides on the page.

What costs money takes two steps: a preview, then the decision. Each form carries the version of
what it is about, so that a stale tab or a second click does nothing.
"""

import logging
from collections.abc import Callable
from threading import BoundedSemaphore
from urllib.parse import urlencode

from flask import Blueprint, Response, g, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from feedwatch.core.episode import State
from feedwatch.core.pipeline import PROCESSORS
from feedwatch.core.printable import counted
from feedwatch.watcher import decisions, overview, pauses
from feedwatch.watcher.check_requests import request_check
from feedwatch.watcher.decisions import Action, Proposal
from feedwatch.watcher.errors import NotFoundError, RequestError
from feedwatch.web.pages import at, local, render, valid_id
from feedwatch.web.site import Parts

log = logging.getLogger(__name__)

MAX_PREVIEWED = 20  # titles before a question
MAX_SLOW = 2  # requests that wait for other servers, so that the rest of the threads stay free

_slow = BoundedSemaphore(MAX_SLOW)
action = Blueprint("action", __name__)

Answer = str | Response | AnyResponse


@action.get("/episodes/<int:number>/approve", endpoint="preview_approve")
@action.get("/episodes/<int:number>/retry", endpoint="preview_retry")
def preview(number: int) -> Answer:
    """What a decision that costs money would do."""
    what = Action(request.path.rpartition("/")[2])
    try:
        return confirm(proposed(g.parts, what, number))
    except NotFoundError:
        raise
    except RequestError as error:
        return stale(number, str(error))


@action.post("/episodes/<int:number>/approve", endpoint="approve")
@action.post("/episodes/<int:number>/skip", endpoint="skip")
@action.post("/episodes/<int:number>/retry", endpoint="retry")
@action.post("/episodes/<int:number>/adopt", endpoint="adopt")
def decide(number: int) -> Answer:
    """Decide about an episode."""
    what = Action(request.path.rpartition("/")[2])
    episode = overview.find_episode(g.parts.store, valid_id(number))
    if request.form.get("version") != str(episode.version):
        return stale(number)
    if what is Action.ADOPT:
        media_id = request.form.get("media_id", "").strip()
        return unhurried(lambda: carry_out(g.parts.adopt(number, media_id, at()), number))
    if what is Action.RETRY:
        return unhurried(lambda: carry_out(g.parts.retry(number, at()), number))
    return carry_out(proposed(g.parts, what, number), number)


@action.get("/feeds/<name>/approve", endpoint="preview_approve_all")
def preview_all(name: str) -> Answer:
    """What approving all held episodes of a feed would do."""
    return confirm(proposed_for(g.parts, Action.APPROVE, name))


@action.post("/feeds/<name>/approve", endpoint="approve_all")
@action.post("/feeds/<name>/skip", endpoint="skip_all")
def decide_all(name: str) -> Answer:
    """Decide about all held episodes of a feed."""
    proposal = proposed_for(g.parts, Action(request.path.rpartition("/")[2]), name)
    if request.form.get("version") != proposal.version:
        return stale(None)
    return carry_out(proposal, None)


@action.post("/pause", endpoint="pause", defaults={"name": None})
@action.post("/resume", endpoint="resume", defaults={"name": None})
@action.post("/feeds/<name>/pause", endpoint="pause_feed")
@action.post("/feeds/<name>/resume", endpoint="resume_feed")
def pause(name: str | None) -> Answer:
    """Stop or restart new submissions."""
    word = request.path.rpartition("/")[2]
    set_paused(g.parts, name, g.actor, paused=word == "pause")
    others = pauses.resting(g.parts.store) if word == "resume" and name is None else []
    return done("resume_but", n=len(others)) if others else done(word)


@action.post("/feeds/<name>/check")
def check(name: str) -> Answer:
    """Make a feed due."""
    request_check(g.parts.store, g.parts.plan().sources, name.lower(), at())
    return done("check")


@action.post("/feeds/<name>/dry-run")
def dry_run(name: str) -> Answer:
    """Show what would become of the items of a feed."""
    source = g.parts.plan().sources.get(name.lower())
    if source is None:
        raise NotFoundError(f"the config has no feed {name!r}")
    now = at()
    return unhurried(
        lambda: render("dry_run.html", name=source.name, run=g.parts.dry_run(source, now))
    )


@action.post("/settings/doctor")
def doctor() -> Answer:
    """Show what `doctor` finds."""
    return unhurried(lambda: render("doctor.html", findings=g.parts.diagnose()))


def unhurried(answer: Callable[[], Answer]) -> Answer:
    """The answer that waits for another server; 503 where too many do already."""
    if not _slow.acquire(blocking=False):
        title, detail = "Busy", "Two requests wait for other servers already; try again soon."
        return Response(render("error.html", title=title, detail=detail), 503)
    try:
        return answer()
    finally:
        _slow.release()


def proposed(parts: Parts, action: Action, number: int) -> Proposal:
    """What a decision about one episode would do."""
    ids, store, sources = [valid_id(number)], parts.store, parts.plan().sources.values()
    match action:
        case Action.APPROVE:
            return decisions.approval(store, sources, ids, None, at(), parts.targets_of)
        case Action.SKIP:
            return decisions.skipping(store, sources, ids, None)
        case _:
            plan, targets_of = parts.plan(), parts.targets_of
            return decisions.retrial(store, plan, {}, ids, None, at(), targets_of)


def proposed_for(parts: Parts, action: Action, name: str) -> Proposal:
    """What a decision about all held episodes of a feed would do."""
    store, sources = parts.store, parts.plan().sources.values()
    if action is Action.APPROVE:
        return decisions.approval(store, sources, (), name, at(), parts.targets_of)
    return decisions.skipping(store, sources, (), name)


def set_paused(parts: Parts, name: str | None, actor: str, *, paused: bool) -> None:
    """Stop or restart new submissions, of one feed or of all."""
    sources = parts.plan().sources.values()
    feed = overview.find_feed(parts.store, sources, name) if name is not None else None
    pauses.set_paused(parts.store, PROCESSORS, sources, feed, at(), actor, paused=paused)
    done = "paused" if paused else "resumed"
    others = pauses.resting(parts.store) if not paused else []
    every = f"all feeds but {', '.join(others)}" if others else "all feeds"
    log.info("%s: new submissions are %s by %s", feed or every, done, actor)


def confirm(proposal: Proposal) -> str:
    """The page that shows what would be submitted, and asks."""
    shown = proposal.episodes[:MAX_PREVIEWED]
    titles = [(one.id, one.feed, one.title, one.enclosure_url) for one in shown]
    return render(
        "confirm.html",
        proposal=proposal,
        number=len(proposal.moves),
        titles=titles,
        back=local(request.args.get("back")),
        next=request.args.get("next", ""),
    )


def carry_out(proposal: Proposal, number: int | None) -> Answer:
    """Write the decision, and go back to where it was taken."""
    overtaken = decisions.carry_out(g.parts.store, proposal, g.actor, at(), g.parts.journal)
    if overtaken:
        return stale(number)
    number_of = counted(len(proposal.moves), "episode")
    log.info("%s by %s: %s", proposal.action, g.actor, number_of)
    did = "ready" if proposal.done and not proposal.moves else proposal.action.value
    return done(did, n=len(proposal.moves), id=number or "")


def done(did: str, **more: int | str) -> AnyResponse:
    """Back to where one was, with what was done, and with the row that comes next."""
    back = local(request.form.get("back"))
    following = request.form.get("next", "")
    query = urlencode({"did": did, **more} | ({"next": following} if following else {}))
    return redirect(f"{back}{'&' if '?' in back else '?'}{query}", 303)


def stale(number: int | None, why: str | None = None) -> Response:
    """The page that says that nothing was done, as it was decided by something old."""
    state: State | None = None
    if number is not None:
        state = overview.find_episode(g.parts.store, valid_id(number)).state
    back = local(request.values.get("back", url_for("page.now")))
    return Response(render("stale.html", state=state, number=number, why=why, back=back), 409)
