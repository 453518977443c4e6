"""A filter decides by the facts of today: anew when the fact changes for which it has skipped."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy

from feedwatch.config.title_pattern import TitlePattern
from feedwatch.core.episode import State
from feedwatch.core.settings import FirstRun, Rules
from tests.support import item
from tests.world import World
from tests.world import world as a_world

OLD = [3, 2, 1]
KIND = "<itunes:episodeType>{}</itunes:episodeType>"
SECONDS = "<itunes:duration>{}</itunes:duration>"
RULES = Rules(
    include_title=TitlePattern("^Episode"),
    episode_types=frozenset({"full"}),
    min_duration=timedelta(minutes=5),
)
FACTS = {
    "title": (item(9, title="episode 9"), item(9)),
    "type": (item(9, more=KIND.format("trailer")), item(9, more=KIND.format("full"))),
    "length": (item(9, more=SECONDS.format(60)), item(9, more=SECONDS.format(1800))),
    "no length": (item(9, more=SECONDS.format(60)), item(9)),
}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path / "feedwatch.db") as world:
        begin(world, RULES)
        yield world


def begin(world: World, rules: Rules) -> None:
    world.sources = [replace(world.source("show"), rules=rules)]
    world.restart()


def serve(world: World, *items: str | int) -> None:
    world.feeds.publish(*(new(world, one) if isinstance(one, str) else one for one in items))
    world.later(hours=1)
    world.check()


def new(world: World, text: str) -> str:
    """An item that is published after the feed was first checked."""
    return text.replace(text.partition("<pubDate>")[2].partition("</pubDate>")[0], DATE)


DATE = "Sat, 21 Nov 2026 14:30:00 +0000"


@pytest.mark.parametrize(("wrong", "right"), FACTS.values(), ids=FACTS)
def test_it_is_decided_anew_when_the_fact_has_changed(world: World, wrong: str, right: str) -> None:
    serve(world, *OLD)
    serve(world, wrong, *OLD)
    skipped = world.episode("guid-9")
    assert skipped.state is State.SKIPPED
    serve(world, wrong.replace("About 9", "Edited"), *OLD)
    assert world.episode("guid-9").state is State.SKIPPED, "something else has changed"
    serve(world, right, *OLD)
    anew = world.episode("guid-9")
    assert (anew.id, anew.state) == (skipped.id, State.QUEUED)
    assert (anew.title, anew.description) == ("Episode 9", "About 9.")
    assert "decided anew" in (anew.reason or "")
    (feed,) = world.store.feeds.all()
    assert feed.full_reads_requested == feed.full_reads_done
    serve(world, wrong, *OLD)
    assert world.episode("guid-9").state is State.QUEUED, "and it is not taken back"


@pytest.mark.parametrize(("wrong", "right"), FACTS.values(), ids=FACTS)
def test_it_is_not_when_the_config_has_changed(world: World, wrong: str, right: str) -> None:
    serve(world, *OLD)
    serve(world, wrong, *OLD)
    begin(world, Rules())
    serve(world, wrong, *OLD, 0)
    serve(world, wrong.replace("About 9", "Edited"), *OLD)
    assert world.episode("guid-9").state is State.SKIPPED
    assert right != wrong


def test_a_fact_that_changes_and_is_still_not_wanted_says_so(world: World) -> None:
    serve(world, item(9, more=SECONDS.format(60)), *OLD)
    serve(world, item(9, more=SECONDS.format(90)), *OLD)
    one = world.episode("guid-9")
    assert (one.state, one.reason) == (State.SKIPPED, "filter: 0:01:30 is shorter than 0:05:00")


def test_a_length_of_0_is_not_stated(world: World) -> None:
    serve(world, *OLD)
    serve(world, item(9, more=SECONDS.format(0)), *OLD)
    one = world.episode("guid-9")
    assert (one.state, one.feed_duration) == (State.QUEUED, None)


@pytest.mark.parametrize(
    ("policy", "state"),
    [
        (FirstRun(), State.SKIPPED),
        (FirstRun(everything=True), State.QUEUED),
        (FirstRun(latest=1), State.HELD),
    ],
)
def test_what_was_there_at_first_goes_by_the_first_run(
    world: World, policy: FirstRun, state: State
) -> None:
    begin(world, replace(RULES, first_run=policy))
    more = SECONDS.format(60)
    world.feeds.publish(item(9, more=more), *OLD)
    world.check()
    assert world.episode("guid-9").state is State.SKIPPED
    world.later(hours=1)
    world.feeds.publish(9, *OLD)
    world.check()
    assert world.episode("guid-9").state is state


def test_many_at_once_are_a_flood(world: World) -> None:
    serve(world, *OLD)
    for more in (SECONDS.format(60), SECONDS.format(1800)):
        serve(world, *(item(n, more=more) for n in range(20, 28)), *OLD)
    states = {state for guid, state in world.states().items() if (guid or "") > "guid-19"}
    assert states == {State.SKIPPED, State.HELD}
    assert "flood" in (world.episode("guid-20").reason or "")


def test_what_feedwatch_0_1_skipped_by_its_title_stays_skipped(world: World) -> None:
    """Its title may be read otherwise by now, though the publisher has changed nothing."""
    wrong, right = FACTS["title"]
    serve(world, *OLD)
    serve(world, wrong, *OLD)
    engine = sqlalchemy.create_engine(f"sqlite:///{world.store.path}")
    with engine.begin() as db:
        db.execute(sqlalchemy.text("UPDATE episodes SET filter_fact = NULL"))
    engine.dispose()
    serve(world, right, *OLD)
    assert world.episode("guid-9").state is State.SKIPPED
