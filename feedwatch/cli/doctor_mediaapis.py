"""What `doctor` finds about the Media APIs. Nothing here costs money or starts a job."""

import secrets
from collections.abc import Iterator

import httpx

from feedwatch.cli.assembly import mediaapis, plain_client
from feedwatch.cli.obstacles import mend_at
from feedwatch.cli.settings import opened
from feedwatch.config.keys import Settings
from feedwatch.config.mediaapis import missing_for
from feedwatch.core.health import Use
from feedwatch.core.masking import shortened
from feedwatch.core.pipeline import Step
from feedwatch.core.status import Finding
from feedwatch.net.client import Cancellation, client, deadline, described
from feedwatch.processors import MEDIAAPIS
from feedwatch.store.errors import StoreError
from feedwatch.watcher.callbacks import PATH

SECONDS = 20.0
GATEWAYS = (502, 503, 504)  # answers of a proxy behind which nobody listens
TOKEN, JOBS, OUTPUT, CALLBACK = (
    f"Media APIs: {what}" for what in ("token", "list of jobs", "public address", "callbacks")
)


def mediaapis_findings(settings: Settings, cancellation: Cancellation) -> Iterator[Finding]:
    """Token, list of jobs, public address of outputs, address of callbacks."""
    media = settings.mediaapis
    if missing := missing_for(settings.given, [Step.DIAGNOSE]):
        yield Finding(TOKEN, missing[0], "set it, or take FEEDWATCH_MEDIAAPIS_KEY out")
        yield Finding(JOBS, f"{media.url}, not asked for", "mend the token first")
        return
    with (
        mediaapis(settings, cancellation) as processor,
        client(cancellation, settings.proxy) as http,
    ):
        failure = processor.prepare()
        if failure is not None:
            mend = f"see key and secret, and FEEDWATCH_MEDIAAPIS_AUTH_URL={media.auth_url}"
            mend = mend_at(http, media.auth_url, "FEEDWATCH_PROXY", mend)
            yield Finding(TOKEN, failure.reason, mend)
            yield Finding(JOBS, f"{media.url}, not asked for", "mend the token first")
        else:
            yield Finding(TOKEN, f"given by {media.auth_url}")
            failure = processor.probe("", None)
            if failure is not None:
                mend = f"see FEEDWATCH_MEDIAAPIS_URL={media.url}"
                mend = mend_at(http, media.url, "FEEDWATCH_PROXY", mend)
                yield Finding(JOBS, failure.reason, mend)
            else:
                yield Finding(JOBS, f"read from {media.url}")
    with plain_client(cancellation) as http:
        if media.public_url is not None:
            yield _public_address(http, media.public_url)
        if settings.public_listen is not None and settings.public_url is not None:
            yield _callbacks(http, settings, settings.public_url)


def _public_address(http: httpx.Client, template: str) -> Finding:
    """Whether the host of the outputs answers: 403 or 404 is right for a file that is not there."""
    url = template
    for name, text in (("{feed}", "doctor"), ("{id}", "0"), ("{token}", secrets.token_hex(8))):
        url = url.replace(name, text)
    found = _status(http, "GET", url)
    if found in (403, 404):
        return Finding(OUTPUT, f"answers {found} for a file that is not there, as it should")
    return Finding(
        OUTPUT,
        f"answers {found} for a file that is not there" if isinstance(found, int) else found,
        "expected 403 or 404: see FEEDWATCH_MEDIAAPIS_PUBLIC_URL",
    )


def _callbacks(http: httpx.Client, settings: Settings, public_url: str) -> Finding:
    """Whether the public side can be reached by its address, from here at least.

    Nothing hears them before a daemon runs, which is no fault: a proxy then has nobody behind it.
    """
    path = PATH.format(processor=MEDIAAPIS, token=secrets.token_hex(16))
    found = _status(http, "POST", public_url.rstrip("/") + path)
    if found == 404:
        return Finding(CALLBACK, f"heard at {public_url}, as seen from here")
    if (isinstance(found, str) or found in GATEWAYS) and not _has_daemon(settings):
        said = f"answers {found}" if isinstance(found, int) else found
        why = "no `feedwatch run` is running, which hears them: look again once one is"
        return Finding(CALLBACK, f"{public_url} {said}; {why}")
    return Finding(
        CALLBACK,
        f"answers {found} to a token that nobody has" if isinstance(found, int) else found,
        "see FEEDWATCH_PUBLIC_URL and the proxy before it, while `feedwatch run` is running; "
        "without callbacks jobs are polled all the same",
    )


def _has_daemon(settings: Settings) -> bool:
    """Whether a daemon has the database, as far as that can be told."""
    try:
        with opened(settings) as store:
            return store.is_made and store.use() is not Use.NONE
    except StoreError:
        return True


def _status(http: httpx.Client, method: str, url: str) -> int | str:
    try:
        with deadline(SECONDS), http.stream(method, url) as response:
            return response.status_code
    except (httpx.RequestError, httpx.InvalidURL) as error:
        return f"cannot be reached ({shortened(described(error))})"
