"""What waits follows its item in the feed, until the claim."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from feedwatch.core import episode_lifecycle
from feedwatch.core.circuit_breaker import CircuitBreaker
from feedwatch.core.episode import LIVE, WAITING, Cause, Episode, State
from feedwatch.core.feed import Document, Feed
from feedwatch.core.json_forms import feed_json, remark
from feedwatch.core.settings import OnReplaced
from feedwatch.feeds.hashes import hashed
from feedwatch.sandbox.faults import Fault
from feedwatch.store.episodes import LAST_NOTE, MOST_NOTES
from feedwatch.watcher.context import Check
from feedwatch.watcher.evaluate import record
from tests.support import audio, item, published, rss
from tests.world import World
from tests.world import world as a_world

OLD = [3, 2, 1]
SECONDS = "<itunes:duration>{}</itunes:duration>"
WRONG = item(
    9, title="Epsiode 9: tpyo", description="Old.", url=f"{audio(9)}?sig=a", more=SECONDS.format(60)
)
RIGHT = item(
    9,
    title="Episode 9: right",
    description="New.",
    url=f"{audio(9)}?sig=b",
    when=published(8),
    more=SECONDS.format(1800),
)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path / "feedwatch.db") as world:
        yield world


def serve(world: World, *items: str | int) -> None:
    """The next check has this document."""
    world.feeds.publish(*items)
    world.later(hours=1)
    world.check()


def put(world: World, state: State, guid: str = "guid-9") -> Episode:
    """Have the episode in `state`."""
    one = world.episode(guid)
    saved = world.store.episodes.save(one, replace(one, state=state, reason="r"), world.now)
    assert saved is not None
    return saved


def facts(one: Episode) -> tuple[object, ...]:
    return one.title, one.description, one.enclosure_url, one.published_at, one.feed_duration


def lines(world: World, guid: str = "guid-9") -> list[str | None]:
    return [line.reason for line in world.store.episodes.history(world.episode(guid).id)]


@pytest.mark.parametrize("state", WAITING)
def test_what_waits_takes_every_fact_from_its_item_with_a_line_in_its_history(
    world: World, state: State
) -> None:
    serve(world, WRONG, *OLD)
    before = put(world, state)
    serve(world, RIGHT, *OLD)
    after = world.episode("guid-9")
    assert facts(after) == ("Episode 9: right", "New.", f"{audio(9)}?sig=b", published(8), 1800)
    assert (after.id, after.state, after.reason) == (before.id, state, "r")
    assert lines(world)[-1] == (
        "corrected in the feed: title, which was 'Epsiode 9: tpyo'; description; address; date; "
        "length"
    )
    count = len(lines(world))
    serve(world, RIGHT, *OLD, 4)
    assert len(lines(world)) == count, "said once"


def test_a_date_that_is_another_one_at_each_check_leaves_a_history_that_one_can_read(
    world: World,
) -> None:
    world.feeds.publish(9, *OLD)
    for _ in range(MOST_NOTES + 5):
        serve(world, item(9, when=world.now + timedelta(days=9)), *OLD)
        world.submit()
    said = lines(world)
    assert len(said) == MOST_NOTES + 1
    assert said.count("corrected in the feed: date") == 1
    assert (said[-1] or "").endswith(LAST_NOTE)
    one = world.episode("guid-9")
    ahead = f"{one.published_at:%Y-%m-%d %H:%M}"
    assert ahead in (one.reason or ""), "the row says what holds now"
    assert one.published_at == (world.now + timedelta(days=9, hours=-1)).replace(microsecond=0)


def test_a_title_that_is_another_one_at_each_check_does_not_fill_the_history(world: World) -> None:
    serve(world, item(9, title="Take 0"), *OLD)
    put(world, State.HELD)
    for number in range(MOST_NOTES + 5):
        serve(world, item(9, title=f"Take {number + 1}"), *OLD)
    assert len(lines(world)) <= MOST_NOTES + 2
    put(world, State.UNKNOWN)
    serve(world, item(9, title="Another state"), *OLD)
    assert lines(world)[-1] == "corrected in the feed: title, which was 'Take 25'"


def test_a_trouble_that_comes_and_goes_is_noted_once_with_its_end(world: World) -> None:
    serve(world, 9, *OLD)
    put(world, State.PROCESSING)
    count = len(lines(world))
    for _ in range(3):
        for reason in ("the API is away", None):
            one = world.episode("guid-9")
            world.store.episodes.save(one, replace(one, reason=reason), world.now)
    assert lines(world)[count:] == ["the API is away", "no longer so: the API is away"]


def test_what_a_correction_leaves_out_stays(world: World) -> None:
    serve(world, WRONG, *OLD)
    serve(world, WRONG.replace(SECONDS.format(60), "").replace("Epsiode 9: tpyo", " "), *OLD)
    assert facts(world.episode("guid-9"))[0] == "Epsiode 9: tpyo"
    assert world.episode("guid-9").feed_duration == 60


@pytest.mark.parametrize("state", [*LIVE, State.READY])
def test_what_was_claimed_stays_as_it_was_claimed(world: World, state: State) -> None:
    serve(world, WRONG, *OLD)
    before = put(world, state)
    serve(world, RIGHT, *OLD)
    assert facts(world.episode("guid-9")) == facts(before)
    assert world.episode("guid-9").version == before.version


def test_a_check_that_began_before_the_claim_changes_nothing_of_what_was_claimed(
    world: World,
) -> None:
    serve(world, WRONG, *OLD)
    (feed,) = world.store.feeds.all()
    source = world.sources[0]
    body = world.feeds.publish(RIGHT, *OLD)
    document = hashed(Document(body=body, url=source.url), source.rules)
    evaluation = world.checks._evaluator.evaluate(feed, source, document)
    assert evaluation.items.keys() == {world.episode("guid-9").id}
    world.sandbox.faults.add(Fault("submit", "drop_after", match={"name": "Epsiode 9: tpyo"}))
    claimed = put(world, State.SUBMITTING)
    record(world.context, Check(feed=feed, source=source, host=""), document, evaluation)
    assert world.episode("guid-9") == claimed
    put(world, State.UNKNOWN)
    world.later(hours=1)
    world.check()
    assert world.episode("guid-9").title == "Episode 9: right", "of the same bytes, once it waits"


def test_what_was_corrected_during_a_job_that_fails_is_what_a_retry_sends(world: World) -> None:
    broken = "https://media.exmaple.org/show/9.mp3"
    serve(world, item(9, url=broken), *OLD)
    for number in OLD:
        put(world, State.READY, f"guid-{number}")
    world.sandbox.faults.add(Fault("poll", "lost", times=None))
    world.submit()
    serve(world, 9, *OLD)
    one = world.episode("guid-9")
    assert (one.state, one.enclosure_url) == (State.PROCESSING, broken)
    while world.episode("guid-9").state is State.PROCESSING:
        world.later(minutes=20)
        world.poll()
    assert world.episode("guid-9").state is State.FAILED
    world.later(hours=1)
    world.check()
    failed = world.episode("guid-9")
    assert failed.enclosure_url == audio(9), "though the document has not changed since"
    world.sandbox.faults.clear()
    world.store.episodes.save(failed, episode_lifecycle.retried(failed, world.now), world.now)
    world.submit()
    assert [body["url"] for body in world.sandbox.taken] == [broken, audio(9)]


def test_a_held_item_whose_audio_is_mended_is_the_same_episode(world: World) -> None:
    serve(world, *OLD)
    serve(world, item(9, url=audio(3)), *OLD)
    assert world.episode("guid-9").state is State.HELD
    serve(world, item(9, url=audio(3), title="Another title"), *OLD)
    assert world.episode("guid-9").title == "Another title"
    serve(world, 9, *OLD)
    assert len(world.states()) == 4
    assert world.episode("guid-9").enclosure_url == audio(9)
    assert world.episode("guid-3").title == "Episode 3"


def test_a_queued_episode_never_takes_the_audio_of_another_one(world: World) -> None:
    serve(world, 9, *OLD)
    serve(world, item(9, url=audio(3), title="By mistake"), *OLD)
    one = world.episode("guid-9")
    assert (one.title, one.enclosure_url) == ("By mistake", audio(9))


def test_of_two_items_that_share_a_placeholder_neither_takes_the_other_ones_place(
    world: World,
) -> None:
    serve(world, *OLD)
    placeholder = audio(0)
    serve(world, item(9, url=placeholder), item(8, url=placeholder), *OLD)
    serve(world, 9, 8, *OLD)
    found = {one.enclosure_url for one in world.store.episodes.find()}
    assert {audio(9), audio(8)} <= found


def test_an_address_that_is_another_one_at_every_check_is_noted_once(world: World) -> None:
    for number in range(6):
        serve(world, item(9, url=f"{audio(9)}?sig={number}"), *OLD)
    assert world.episode("guid-9").enclosure_url == f"{audio(9)}?sig=5"
    assert lines(world) == ["new", "corrected in the feed: address"]


def test_what_was_skipped_is_submitted_as_its_feed_has_it_if_it_is_retried(world: World) -> None:
    serve(world, WRONG, *OLD)
    one = world.episode("guid-9")
    world.store.episodes.save(one, episode_lifecycle.skipped(one), world.now)
    serve(world, RIGHT, *OLD)
    skipped = world.episode("guid-9")
    assert skipped.enclosure_url == f"{audio(9)}?sig=b", "which the preview of `retry` shows"
    world.store.episodes.save(skipped, episode_lifecycle.retried(skipped, world.now), world.now)
    world.check()
    assert facts(world.episode("guid-9"))[:2] == ("Episode 9: right", "New.")


# What the feed no longer has


def test_what_is_taken_out_while_it_is_queued_is_held_until_it_is_back(world: World) -> None:
    serve(world, 9, *OLD)
    for number in OLD:
        put(world, State.READY, f"guid-{number}")
    serve(world, *OLD)
    one = world.episode("guid-9")
    assert (one.state, one.cause) == (State.HELD, Cause.TAKEN_OUT)
    assert "taken out of the feed" in (one.reason or "")
    serve(world, item(3, description="Edited."), *OLD[1:])
    assert world.episode("guid-9").state is State.HELD
    serve(world, 9, *OLD)
    back = world.episode("guid-9")
    assert (back.state, back.reason, back.missing_since) == (State.QUEUED, "back in the feed", None)
    world.submit()
    assert [body["name"] for body in world.sandbox.taken] == ["Episode 9"]


def test_what_newer_items_have_pushed_off_the_end_waits_on(world: World) -> None:
    serve(world, *OLD)
    serve(world, 4, 3, 2)
    assert world.episode("guid-1").state is State.QUEUED
    serve(world, 4, 3, 0)
    assert world.episode("guid-1").state is State.QUEUED, "an older one that turns up later"
    assert world.episode("guid-2").state is State.QUEUED, "nothing older has stayed"


def test_without_dates_what_was_seen_first_is_older(world: World) -> None:
    def undated(number: int) -> str:
        return item(number).replace("<pubDate>", "<x>").replace("</pubDate>", "</x>")

    serve(world, *map(undated, OLD))
    serve(world, *map(undated, [4, 3, 2]))
    assert world.episode("guid-1").state is State.QUEUED
    serve(world, *map(undated, [3, 2]))
    assert world.episode("guid-4").state is State.HELD


def test_what_a_person_approves_though_it_is_taken_out_is_submitted(world: World) -> None:
    serve(world, 9, *OLD)
    serve(world, *OLD)
    one = world.episode("guid-9")
    world.store.episodes.save(one, episode_lifecycle.approved(one, world.now), world.now)
    serve(world, 4, *OLD)
    assert world.episode("guid-9").state is State.QUEUED


def test_what_is_held_for_something_else_stays_so_and_its_history_says_that_it_was_taken_out(
    world: World,
) -> None:
    serve(world, 9, *OLD)
    put(world, State.HELD)
    serve(world, *OLD)
    assert (world.episode("guid-9").state, world.episode("guid-9").reason) == (State.HELD, "r")
    assert lines(world)[-1] == "taken out of the feed"
    serve(world, 9, *OLD)
    assert (world.episode("guid-9").state, world.episode("guid-9").reason) == (State.HELD, "r")


@pytest.mark.parametrize("body", [b"", b"<html></html>", b"<rss><channel></channel></rss>"])
def test_a_document_that_is_no_feed_takes_nothing_out(world: World, body: bytes) -> None:
    serve(world, 9, *OLD)
    world.feeds.serve(body)
    world.later(hours=1)
    world.check()
    assert set(world.states().values()) == {State.QUEUED}


def test_a_stale_copy_stops_an_episode_only_while_it_is_served(world: World) -> None:
    world.later(seconds=1)
    for _ in range(3):
        serve(world, 9, *OLD)
        assert world.episode("guid-9").state is State.QUEUED
        serve(world, *OLD)
        assert world.episode("guid-9").state is State.HELD
    assert timedelta() < world.now - world.begins_at


# Documents that had to be repaired


def damaged(*items: str | int) -> bytes:
    """A document with a bare ampersand in its first item."""
    return rss(*items).replace(b"</title>\n<guid", b" & more</title>\n<guid", 1)


def shown(world: World, body: bytes) -> Feed:
    world.feeds.serve(body)
    world.later(hours=1)
    world.check()
    (feed,) = world.store.feeds.all()
    return feed


def test_what_is_new_in_a_document_that_is_damaged_now_is_held_and_the_feed_says_so(
    world: World,
) -> None:
    assert shown(world, rss(*OLD)).repaired is False
    feed = shown(world, damaged(9, *OLD))
    assert (feed.repaired, world.states()["guid-9"]) == (True, State.HELD)
    assert "damaged" in (remark(feed) or "")
    assert feed_json(feed, CircuitBreaker(), None)["repaired"] is True
    assert "damaged" in (world.episode("guid-9").reason or "")
    feed = shown(world, rss(10, 9, *OLD))
    assert (feed.repaired, remark(feed)) == (False, None)
    assert world.states()["guid-10"] is State.QUEUED


def test_a_feed_whose_documents_are_always_damaged_goes_on(world: World) -> None:
    shown(world, damaged(*OLD))
    shown(world, damaged(4, *OLD))
    assert set(world.states().values()) == {State.QUEUED}


def test_a_damaged_document_takes_nothing_out(world: World) -> None:
    shown(world, rss(9, *OLD))
    shown(world, damaged(*OLD))
    assert set(world.states().values()) == {State.QUEUED}


def test_old_items_that_are_pinned_do_not_make_what_falls_off_the_end_taken_out(
    world: World,
) -> None:
    """What waits long in a short window goes, while a trailer from the beginning stays."""
    serve(world, 9, 8, 7, 1)
    serve(world, 12, 11, 10, 1)
    for guid in ("guid-7", "guid-8", "guid-9"):
        assert world.episode(guid).state is State.QUEUED
    serve(world, 12, 10, 1, *OLD)
    assert world.episode("guid-11").state is State.HELD, "older ones around it stay"


@pytest.mark.parametrize("on_replaced", list(OnReplaced))
@pytest.mark.parametrize("later", [timedelta(minutes=20), timedelta(minutes=-20)])
def test_a_file_and_a_date_that_are_mended_before_the_post_are_one_episode(
    world: World, on_replaced: OnReplaced, later: timedelta
) -> None:
    world.sources = [
        replace(one, rules=replace(one.rules, on_replaced=on_replaced)) for one in world.sources
    ]
    world.restart()
    serve(world, *OLD)
    serve(world, item(9, when=published(9)), *OLD)
    mended = item(9, url=audio(99), when=published(9) + later)
    serve(world, mended, *OLD)
    (waits,) = (one for one in world.store.episodes.find() if one.guid == "guid-9")
    assert (waits.enclosure_url, waits.state) == (audio(99), State.QUEUED)


def test_what_stood_on_a_further_page_is_not_taken_out_of_the_first_one(world: World) -> None:
    first, second = rss(*range(30, 20, -1), 1), rss(*range(20, 1, -1))
    link = f'<atom:link rel="next" href="{world.feeds.url_of("/2.xml")}"/>'.encode()
    first = first.replace(
        b"<channel>", b'<channel xmlns:atom="http://www.w3.org/2005/Atom">' + link
    )
    world.feeds.serve(second, path="/2.xml")
    world.feeds.serve(first)
    world.later(hours=1)
    world.check()
    assert len(world.states()) == 30
    world.feeds.serve(first.replace(b"</channel>", b"<generator>x</generator></channel>"))
    world.later(hours=1)
    world.check()
    assert set(world.states().values()) == {State.QUEUED}
