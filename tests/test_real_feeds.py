"""The whole way with real feeds: each one's latest episode is submitted once, and gets ready."""

import json
import re
from collections import Counter
from pathlib import Path

import jsonschema_rs
import pytest

from feedwatch.sandbox.server import Sandbox
from tests.contract import CONTRACT
from tests.feeds_corpus import Corpus
from tests.support import PATIENCE, FeedServer, Feedwatch, Workspace, one_in

VALID = jsonschema_rs.Draft7Validator(
    {"$ref": "#/components/schemas/MediaCreationParams", "components": CONTRACT["components"]}
)

END = re.compile(rb"</(channel|rss|feed|(\w+:)?RDF)\s*>")


@pytest.mark.slow
@pytest.mark.parametrize("every", one_in(2, [12, 1]))
def test_every_real_feed_submits_its_latest_episode_once(
    tmp_path: Path, real_feeds: Corpus, feed_server: FeedServer, every: int
) -> None:
    """Every twelfth, and in the longer run all of them."""
    paths = real_feeds.files("real", every)
    podcasts = {f"podcast-{number}": path.stem for number, path in enumerate(paths)}
    with Sandbox(api_key="key", podcasts=podcasts, job_seconds=0.0) as sandbox:
        folder = tmp_path / "all"
        folder.mkdir()
        workspace = Workspace(folder, sandbox.url)
        workspace.set(
            API_KEY="key",
            FIRST_RUN="latest:1",
            MAX_CONCURRENT_JOBS=50,
            MAX_SUBMISSIONS_PER_DAY=1000,
            CHECK_INTERVAL="1d",
        )
        for number, path in enumerate(paths):
            feed_server.serve(path.read_bytes(), path=f"/{number}.xml")
            workspace.add_feed(
                f"f{number}", feed_server.url_of(f"/{number}.xml"), f"podcast-{number}"
            )
        feedwatch = Feedwatch(workspace)
        first = feedwatch("run", "--once", "--timeout", PATIENCE)
        cut_short = {f"f{n}" for n, path in enumerate(paths) if not END.search(path.read_bytes())}
        feeds = feedwatch("feeds", "--json").json
        assert {feed["name"] for feed in feeds if feed["error"]} == cut_short, first.stderr
        assert first.status == (3 if cut_short else 0)
        episodes = feedwatch("episodes", "--json").json
        submitted = [one for one in episodes if one["state"] != "skipped"]
        per_feed = Counter(one["feed"] for one in submitted)
        with_episodes = {one["feed"] for one in episodes}
        rows = [real_feeds.row(path) for path in paths]
        stated = {
            f"f{n}" for n, row in enumerate(rows) if row and row["items_with_enclosure"] != "0"
        }
        assert with_episodes >= stated - cut_short
        assert per_feed == Counter(with_episodes), "exactly one of each"
        assert {one["state"] for one in submitted} == {"ready"}
        assert len(sandbox.submissions) == len(sandbox.taken) == len(submitted)
        for body in sandbox.taken:
            assert VALID.is_valid(json.loads(json.dumps(body))), body
        feedwatch("run", "--once", "--timeout", PATIENCE)
        assert len(sandbox.submissions) == len(submitted), "a second run submits none"
