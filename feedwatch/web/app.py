"""The application: who may ask for what, the headers of every answer, and errors."""

import logging
from typing import Any

from flask import Flask, Response, g, redirect, request, url_for
from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.wrappers import Response as AnyResponse

from feedwatch.store.errors import StoreError
from feedwatch.watcher.errors import NotFoundError, RequestError
from feedwatch.web import api, show_text
from feedwatch.web.actions import action
from feedwatch.web.auth import Guard
from feedwatch.web.monitoring import Monitored, Serving, monitoring
from feedwatch.web.pages import page, render
from feedwatch.web.site import Site

log = logging.getLogger(__name__)

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    # Not `no-referrer`: with that, forms send `Origin: null`, and without TLS there is no
    # Sec-Fetch-Site to tell our own forms by.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
MONITORING_PATHS = ("/healthz", "/readyz", "/metrics")
OPEN_ENDPOINTS = ("page.login", "page.log_in", "static")  # need no login


def application(site: Site, source: Monitored | Serving) -> Flask:
    """Page, API and monitoring."""
    app = Flask(__name__)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.config["MAX_FORM_MEMORY_SIZE"] = 100_000
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    app.url_map.redirect_defaults = False
    guard = Guard(site)
    show_text.set_up(app)
    app.register_blueprint(monitoring(source))
    app.register_blueprint(page)
    app.register_blueprint(action)
    app.register_blueprint(api.v1, url_prefix="/api/v1")
    app.before_request(lambda: admit(site, guard))
    app.after_request(with_headers)
    app.register_error_handler(Exception, explain)
    return app


def admit(site: Site, guard: Guard) -> AnyResponse | None:
    """Nothing if the request may go on; else the answer."""
    g.actor = None
    g.now = site.clock()
    g.parts = site.parts
    g.guard = guard
    if is_for_monitoring():
        return None
    if not site.access.has_api:
        what = "set FEEDWATCH_WEB_PASSWORD, or FEEDWATCH_WEB_USER_HEADER for a proxy"
        return explained(404, "not found", f"there is no page here: to have one, {what}")
    if not guard.is_our_host(request):
        detail = "this is not the address in FEEDWATCH_WEB_URL, by default FEEDWATCH_LISTEN"
        return explained(421, "misdirected request", detail)
    if is_for_api():
        return api.admit(guard, site.parts)
    if not site.access.has_page:
        return explained(404, "not found", "there is no page here, only the API")
    if guard.is_from_elsewhere(request):
        return explained(403, "refused", "this form was not sent from the page itself")
    if request.endpoint in OPEN_ENDPOINTS:
        return None
    if site.parts is None:
        return explained(503, "starting", "the database is being opened")
    g.actor = guard.person(request)
    if g.actor is not None:
        return None
    if site.access.user_header is not None:
        return explained(403, "refused", "the proxy in front of this page has named no user")
    return redirect(url_for("page.login", to=request.full_path.rstrip("?")), 303)


def is_for_monitoring() -> bool:
    """Whether the request is for health, readiness or metrics, by whatever method."""
    return request.path in MONITORING_PATHS


def is_for_api() -> bool:
    """Whether the request is for the API, even for a path that it does not have."""
    return request.path.startswith("/api/")


def with_headers(response: Response) -> Response:
    """The answer with the headers that every answer has."""
    response.headers.setdefault("Cache-Control", "no-store")
    if not is_for_monitoring():
        for name, value in HEADERS.items():
            response.headers[name] = value
    return response


def explain(error: Exception) -> Any:
    """An error as an answer, in the form that the request wants."""
    match error:
        case NotFound():
            return explained(404, "not found", f"there is nothing at {request.path}")
        case HTTPException(code=int(code)):
            detail, allowed = error.description or "", error.get_response().headers.get("Allow")
            if allowed is not None:
                detail = f"{request.path} takes {allowed}, not {request.method}"
            response = explained(code, error.name.lower(), detail)
            if allowed is not None:
                response.headers["Allow"] = allowed
            return response
        case api.BadRequestError():
            return explained(400, "bad request", str(error))
        case NotFoundError():
            return explained(404, "not found", str(error))
        case RequestError():
            return explained(409, "nothing was done", str(error))
        case StoreError():
            detail = f"{error}. The next request tries again."
            return explained(503, "the database does not work", detail)
    log.error("http: %s could not be made", request.path, exc_info=error)
    return explained(500, "failed", "the log says why")


def explained(status: int, title: str, detail: str) -> Response:
    """An answer that says why there is no other one."""
    if is_for_api():
        return api.problem(status, title, detail)
    if is_for_monitoring() or g.get("actor") is None:
        text = f"{title}: {detail}\n" if detail else f"{title}\n"
        return Response(show_text.shown(text, keep="\n"), status, content_type=show_text.PLAIN)
    return Response(render("error.html", title=title.capitalize(), detail=detail), status)
