"""A third media API, in one file (`auphonic.py`), does a step once the registry names it."""

import json
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest

from feedwatch.config import values
from feedwatch.core import pipeline
from feedwatch.core.episode import State
from feedwatch.core.pipeline import Step
from feedwatch.net.client import Cancellation, client
from feedwatch.processors import INLET
from feedwatch.watcher.overview import status
from feedwatch.watcher.pauses import set_paused
from tests.auphonic import Auphonic
from tests.support import PODCAST, Loopback
from tests.world import world

MADE = "https://out.example/u1.mp3"


class Productions(Loopback):
    """The made-up API: one production, done at once."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.posts: list[dict[str, Any]] = []
        data = {"status": 3, "uuid": "u1", "output_files": [{"download_url": MADE}]}
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                api.posts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.do_GET()

            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps({"status_code": 200, "data": data}).encode())

            def log_message(self, format: str, *_: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"


def test_a_third_api_does_a_step_by_its_one_file_and_its_lines_in_the_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = cast("dict[Step, str]", pipeline.PROCESSOR_OF)
    monkeypatch.setitem(registry, Step.ENHANCE, Auphonic.name)
    monkeypatch.setattr(pipeline, "PROCESSORS", (INLET, Auphonic.name))
    with (
        world(tmp_path / "a.db") as one,
        Productions() as api,
        client(Cancellation(), base_url=api.url) as http,
    ):
        steps = values.pipeline("enhance,ads")
        one.sources = [replace(source, pipeline=steps) for source in one.sources]
        one.restart()
        one.context.processors = {**one.context.processors, Auphonic.name: Auphonic(http)}
        one.feeds.publish(1)
        one.check()
        set_paused(one.store, [Auphonic.name], one.sources, None, one.now, "test", paused=True)
        one.submit()
        assert api.posts == []
        set_paused(one.store, [Auphonic.name], one.sources, None, one.now, "test", paused=False)
        for _ in range(2):
            one.submit()
            one.later(minutes=1)
            one.poll()
        episode = one.episode()
        assert episode.state is State.READY
        assert [post["input_file"] for post in api.posts] == [episode.enclosure_url]
        assert [sent["url"] for sent in one.sandbox.taken] == [MADE]
        claims = one.store.claims.latest(9)
        assert [(claim.target.processor, claim.target.id) for claim in claims] == [
            (Auphonic.name, f"enhance:{PODCAST}"),
            (INLET, PODCAST),
        ]
        found = status(one.store, one.context.plan, one.now)
        assert [each.name for each in found.processors] == [INLET, Auphonic.name]
