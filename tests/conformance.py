"""What the conformance suite (test_conformance.py) has to know of each processor.

A new processor is a `Kit` more in `KITS`: what its API's answers look like, and which of its
words mean what. All else that a processor must do is the suite's.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from feedwatch.core.job import Broken, Finished, Running, Task
from feedwatch.net.client import Cancellation, client
from feedwatch.processors import Processor
from feedwatch.processors import inlet as inlet_words
from feedwatch.processors import mediaapis as media_words
from feedwatch.processors.bearer import Bearer
from feedwatch.processors.inlet import Inlet
from feedwatch.processors.mediaapis import TOKEN_PATH, MediaApis, Output
from feedwatch.sandbox.server import Sandbox
from tests import auphonic
from tests.support import KEY

Document = dict[str, Any]
APP_KEY, APP_SECRET = "app-k3y-nobody-may-see", "app-s3cret-nobody-may-see"
ENHANCE_OPTIONS = {"content": {"type": "podcast"}}
STORE_SECRET = "st0re-s3cret-nobody-may-see"


@dataclass(frozen=True, kw_only=True)
class Kit:
    """One processor."""

    task: Task
    # At the URL of the API; what else it needs (tokens, files) it finds at the sandbox.
    connect: Callable[[str, Sandbox], AbstractContextManager[Processor]]
    refusal: Callable[[int], Document]  # an error in the API's own form
    job: Callable[[object], Document]  # the answer to a POST that was taken, with this id
    nameless: tuple[Document, ...]  # and without one
    state: Callable[[Any], Document]  # of a job, by the API's word
    words: Mapping[Any, type]  # every word that the API has
    almost: tuple[Any, ...]  # words that only look like one that ends a job
    listed: Document  # what the safe read is answered where all is well
    blocked: frozenset[int] = frozenset({401, 402, 407})  # to a POST: in whatever form
    blocked_in_its_form: frozenset[int] = frozenset()
    is_401_tried_again: bool = False  # with a fresh token, before a person is told
    is_in_sandbox: bool = True


@contextmanager
def inlet_at(url: str, _sandbox: Sandbox) -> Iterator[Inlet]:
    headers = {"authorization": f"Token {KEY}"}
    with client(Cancellation(), base_url=url, headers=headers) as http:
        yield Inlet(http)


def output_at(sandbox: Sandbox) -> Output:
    name = "{feed}/{id}-{token}.mp3"
    auth = {"username": "joe", "password": STORE_SECRET}
    return Output(
        url=f"{sandbox.url}/out/{name}", public_url=f"{sandbox.url}/public/{name}", auth=auth
    )


def callback_at(url: str | None) -> Callable[[str, str], str] | None:
    """Where jobs tell of their ends, below this address."""
    return None if url is None else lambda name, token: f"{url}/callbacks/{name}/{token}"


@contextmanager
def mediaapis_at(
    url: str,
    sandbox: Sandbox,
    *,
    key: str = APP_KEY,
    clock: Callable[[], float] | None = None,
    callbacks: str | None = None,
) -> Iterator[MediaApis]:
    with (
        client(Cancellation(), base_url=sandbox.url, auth=(key, APP_SECRET)) as tokens,
        client(Cancellation(), base_url=url) as http,
        client(Cancellation()) as reader,
    ):
        told: dict[str, Any] = {"clock": clock} if clock is not None else {}
        bearer = Bearer(tokens, path=TOKEN_PATH, keys="THE KEYS", lifetime=1800, **told)
        yield MediaApis(http, bearer, reader, output_at(sandbox), callback_at(callbacks))


@contextmanager
def auphonic_at(url: str, _sandbox: Sandbox) -> Iterator[auphonic.Auphonic]:
    headers = {"authorization": f"Bearer {KEY}"}
    with client(Cancellation(), base_url=url, headers=headers) as http:
        yield auphonic.Auphonic(http)


def _task(target: str, **more: Any) -> Task:
    return Task(
        target=target,
        token="7d2f0000-0000-4000-8000-000000000001",
        feed="show",
        episode_id=7,
        url="https://media.example.org/1.mp3",
        name="Episode 1",
        description="",
        published_at=None,
        **more,
    )


def _problem(status: int) -> Document:
    return {"type": "about:blank", "title": "Bad", "status": status, "detail": "said"}


def _inlet_state(word: str) -> Document:
    return {"data": {"mediaId": "m1", "status": word, "url": "https://cdn.example.org/1.mp3"}}


def _words(done: Any, failures: Any, under_way: Any) -> dict[Any, type]:
    return {
        done: Finished,
        **dict.fromkeys(failures, Broken),
        **dict.fromkeys(under_way, Running),
    }


INLET = Kit(
    task=_task("podcast-1"),
    connect=inlet_at,
    refusal=lambda _status: {"error": "Bad", "message": "said"},
    job=lambda job_id: {"success": True, "data": {"mediaId": job_id}},
    nameless=({"success": False, "data": {"mediaId": "m1"}}, {"data": []}, {"mediaId": "m1"}),
    state=_inlet_state,
    words=_words(inlet_words.DONE, inlet_words.ERRORS, inlet_words.UNDER_WAY),
    almost=("Ready", "READY_", "REMOVE_ADS_READY", "ERRORS", "READY ERROR"),
    listed={"data": []},
)
MEDIAAPIS = Kit(
    task=_task("diagnose:podcast-1"),
    connect=mediaapis_at,
    refusal=_problem,
    job=lambda job_id: {"job_id": job_id},
    nameless=({}, {"jobId": "m1"}, {"data": {"job_id": "m1"}}),
    state=lambda word: {"path": "/media/diagnose", "status": word, "result": {"audio": {}}},
    words=_words(media_words.DONE, media_words.FAILURES, media_words.UNDER_WAY),
    almost=("Canceled", "success", "Successful", "Failed?", "SUCCESS", "Succeeded", "Run"),
    listed={"count": 0, "jobs": []},
    blocked=frozenset({402, 407}),
    blocked_in_its_form=frozenset({403}),
    is_401_tried_again=True,
)
AUPHONIC = Kit(
    task=_task("enhance:preset-1"),
    connect=auphonic_at,
    refusal=lambda status: {"status_code": status, "error_code": "x", "error_message": "said"},
    job=lambda job_id: {"status_code": 200, "data": {"uuid": job_id}},
    nameless=({}, {"data": {}}, {"data": ["m1"]}),
    state=lambda word: {
        "data": {"status": word, "output_files": [{"download_url": "https://files.example.org/1"}]}
    },
    words=_words(auphonic.DONE, auphonic.FAILURES, auphonic.UNDER_WAY),
    almost=(30, 33, -3),
    listed={"data": {"username": "joe"}},
    is_in_sandbox=False,
)
KITS = {
    "inlet": INLET,
    "enhance": replace(MEDIAAPIS, task=_task("enhance:podcast-1", options=ENHANCE_OPTIONS)),
    "diagnose": MEDIAAPIS,
    "auphonic": AUPHONIC,
}


def voices(kit: Kit, status: int) -> dict[str, str]:
    """The bodies that an error may have: the API's own, those of gateways, and none."""
    return {
        "envelope": json.dumps(kit.refusal(status)),
        "richer": json.dumps(kit.refusal(status) | {"request": "x"}),
        "object": json.dumps({"message": "said"}),
        "list": json.dumps(["said"]),
        "page": "<html><body>said</body></html>",
        "empty": "",
    }
