"""`status --json`: the whole document, byte by byte, with something in every part of it."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from feedwatch.sandbox.faults import Fault
from feedwatch.sandbox.server import Sandbox
from tests.support import KEY, FeedServer, Feedwatch, Workspace, audio, item

# What differs from run to run, and what may be reworded; and what stands for it here.
VARYING = (
    (r'"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"', '"TIME"'),
    (r'"media_id": "[^"]+"', '"media_id": "JOB"'),
    (r'"(place|config)": "[^"]+/', r'"\1": "'),
    (r'"((?:interval_)?seconds)": [\d.]+', r'"\1": 0'),
    (r'"(problems": \[\n +|reason": |error": |remark": |text": )"[^"]+"', r'"\1"WORDS"'),
)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Feedwatch]:
    """Held, skipped, unknown, overdue and failed episodes, a failing feed, a failing channel."""
    with (
        Sandbox(api_key=KEY, job_seconds=1000) as sandbox,
        FeedServer(as_time_passes=True) as feeds,
    ):
        workspace = Workspace(tmp_path_factory.mktemp("lived"), sandbox.url)
        workspace.set(NOTIFY_COMMAND="/bin/false", POLL_INTERVAL="0.1s", JOB_DEADLINE="0.1s")
        workspace.add_feed("show", feeds.url_of("/show.xml"), FIRST_RUN="latest:1")
        workspace.add_feed("other", feeds.url_of("/other.xml"), FLOOD_LIMIT=0, FIRST_RUN="all")
        workspace.add_feed("broken", feeds.url_of("/nothing.xml"))
        feedwatch = Feedwatch(workspace)
        feeds.publish(1, 2, path="/show.xml")
        feeds.publish(11, path="/other.xml")
        feedwatch.once("--timeout", 0)
        feeds.publish(1, 2, 3, 4, path="/show.xml")
        newer = datetime.now(UTC) + timedelta(minutes=1)
        feeds.publish(11, item(12, when=newer), path="/other.xml")
        refusal = '{"error":"Bad","message":"too short"}'
        sandbox.faults.add(Fault(on="submit", kind="status", status=500, body="?"))
        sandbox.faults.add(Fault(on="submit", kind="status", status=400, body=refusal))
        for _ in range(2):
            feedwatch.once("--timeout", 2)
        feedwatch.here("pause")
        yield feedwatch


def episode(number: int, of: int, feed: str, state: str, **more: object) -> dict[str, Any]:
    """Episode `number`, made from the item `of`."""
    return {
        "id": number,
        "feed": feed,
        "guid": f"guid-{of}",
        "title": f"Episode {of}",
        "enclosure_url": audio(of),
        "published_at": "TIME",
        "state": state,
        "step": "ads",
        "reason": "WORDS",
        "media_id": None,
        "remote_status": None,
        "processed_url": None,
        "duration": None,
        "attempts": 0,
        "first_seen_at": "TIME",
        "submitted_at": None,
        "finished_at": None,
    } | more


def overdue(number: int, of: int, feed: str) -> dict[str, Any]:
    job = {"media_id": "JOB", "remote_status": "AD_BREAK_QUEUED"}
    return episode(number, of, feed, "processing", **job, attempts=1, submitted_at="TIME")


def feed(name: str, words: str | None = None) -> dict[str, Any]:
    rest = {"error": words, "silent_since": None, "remark": words}
    return {"name": name, "state": "paused"} | rest


def trouble(kind: str, feed: str, episodes: int | None = 1) -> dict[str, Any]:
    rest = {"feed": feed, "episodes": episodes, "text": "WORDS"}
    return {"key": f"{kind} {feed}", "kind": kind} | rest


DOCUMENT = {
    "daemon": {"running": False, "problems": [], "last_progress_at": None},
    "daemons": [],
    "last_pass": {"began_at": "TIME", "seconds": 0, "status": 3, "interval_seconds": None},
    "paused": True,
    "submissions": {
        "open": False,
        "reason": "WORDS",
        "last_24_hours": 4,  # the refused one, too
        "per_day": 100,
        "live_jobs": 2,
        "max_concurrent_jobs": 4,
    },
    "processors": [
        {
            "name": "inlet",
            "paused": True,
            "open": False,
            "reason": "WORDS",
            "last_24_hours": 4,
            "per_day": 100,
            "live_jobs": 2,
            "max_concurrent_jobs": 4,
        }
    ],
    "episodes": {
        "held": 1,
        "skipped": 1,
        "queued": 0,
        "submitting": 0,
        "unknown": 1,
        "processing": 2,
        "ready": 0,
        "failed": 1,
    },
    "feeds": [feed("broken", "WORDS"), feed("other"), feed("show")],
    "troubles": [
        trouble("held", "other"),
        trouble("overdue", "other"),
        trouble("failed", "show"),
        trouble("overdue", "show"),
        trouble("unknown", "show"),
        trouble("failing", "broken", None),
    ],
    "untold": [{"channel": "command", "events": 6, "error": "WORDS"}],
    "served": None,
    "push": None,
    "waiting": [
        episode(4, 12, "other", "held"),
        episode(5, 3, "show", "unknown", attempts=1, submitted_at="TIME"),
    ],
    "overdue": [overdue(1, 11, "other"), overdue(3, 2, "show")],
    "journal": [
        {"place": "config.env.claims", "problem": None},
        {"place": "feedwatch.db.claims", "problem": None},
    ],
    "config": "config.env",
    "database": {"place": "feedwatch.db", "exists": True},
}


def test_status_json_is_this_document(lived: Feedwatch) -> None:
    text = lived.here("status", "--json").stdout
    for pattern, name in VARYING:
        text = re.sub(pattern, name, text)
    assert text == json.dumps(DOCUMENT, indent=2) + "\n"
