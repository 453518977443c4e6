"""The database, as real SQLite files and on a real PostgreSQL."""

import itertools
import shutil
import sqlite3
import threading
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect

from feedwatch.core import episode_lifecycle
from feedwatch.core.episode import Episode, KnownEpisode, State, is_lost
from feedwatch.core.feed import ErrorKind, FeedState
from feedwatch.core.feed_lifecycle import feed_state
from feedwatch.core.identity import Key, KeyKind
from feedwatch.core.job import Accepted, Answer, Later, Refused
from feedwatch.core.ledger import Target, outcome_of
from feedwatch.core.settings import FeedConfig, Policy
from feedwatch.store.checks import NewEpisode
from feedwatch.store.claims import ClaimResult, Intent
from feedwatch.store.database import connect
from feedwatch.store.errors import StoreError
from feedwatch.store.schema import metadata
from feedwatch.store.store import Store
from feedwatch.watcher.pauses import set_paused
from tests.databases import is_sqlite, migrate, sqlite_only, url_of
from tests.empty_database import empty_database

NOW = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
POLICY = Policy()
SOURCE = FeedConfig(
    name="show", url="https://h.example/feed", podcast_id="p", check_interval=15 * MINUTE
)


TARGET = Target("inlet", "https://api.example:443", "p")


def opened(path: Path, *, may_create: bool = True) -> Store:
    if may_create and is_sqlite() and not path.exists():
        shutil.copy(empty_database(), path)
    return Store(url_of(path), processor="inlet", may_create=may_create)


@pytest.fixture
def path(tmp_path: Path, both_databases: str) -> Path:
    return tmp_path / "feedwatch.db"


def new_episode(number: int = 1, **values: object) -> Episode:
    plain = Episode(
        feed="show",
        guid=f"guid-{number}",
        title=f"Episode {number}",
        description="Notes",
        enclosure_url=f"https://m.example/{number}.mp3",
        published_at=NOW - 10 * DAY + number * MINUTE,
        state=State.QUEUED,
        reason="new",
        first_seen_at=NOW,
        due_at=NOW,
    )
    return replace(plain, **values)  # type: ignore[arg-type]


def admit(store: Store, *numbers: int, **values: object) -> list[Episode]:
    (feed,) = store.feeds.all()
    new = [
        NewEpisode(
            episode=new_episode(number, **values), keys=[Key.parse(f"guid:{number}")], title_key=""
        )
        for number in numbers
    ]
    before = {one.id for one in store.episodes.find()}
    assert store.checks.record(feed, new, {}, NOW) is not None
    found = sorted(store.episodes.find(), key=lambda one: one.id)
    return [one for one in found if one.id not in before]


def claim_result(store: Store, policy: Policy = POLICY, now: datetime = NOW) -> ClaimResult:
    def intent(episode: Episode) -> Intent:
        return Intent(episode_lifecycle.claimed(episode, TARGET.id, now), TARGET)

    return store.claims.claim("inlet", now, policy, intent)


def claim(store: Store, policy: Policy = POLICY, now: datetime = NOW) -> Episode | None:
    return claim_result(store, policy, now).episode


def answer(store: Store, claimed: Episode, answer: Answer, now: datetime = NOW) -> Episode | None:
    """Record the answer to the POST of an episode's last claim."""
    made = store.claims.latest_of(claimed.id)
    assert made is not None
    after = episode_lifecycle.answered(claimed, answer, now, POLICY)
    sent = not isinstance(answer, Later) or answer.sent
    return store.claims.settle(made.token, outcome_of(answer), claimed, after, now, sent=sent)


# Opening


def test_the_migrations_make_the_tables_that_the_code_expects(store: Store) -> None:
    with store._engine.connect() as db:
        assert compare_metadata(MigrationContext.configure(db), metadata) == []


@sqlite_only
def test_a_look_makes_no_database(path: Path) -> None:
    store = opened(path, may_create=False)
    assert store.feeds.all() == []
    assert store.statistics.by_feed() == {}
    store.close()
    assert not path.exists()


@sqlite_only
def test_an_older_database_is_copied_before_it_is_brought_up_to_date(path: Path) -> None:
    with sqlite3.connect(path) as old:
        old.execute("create table precious (value text)")
        old.execute("insert into precious values ('kept')")
    old.close()
    opened(path).close()
    (copy,) = path.parent.glob("feedwatch.db.before-upgrade-*.bak")
    with sqlite3.connect(copy) as copied:
        assert copied.execute("select value from precious").fetchall() == [("kept",)]
        assert (
            copied.execute("select name from sqlite_master where name = 'feeds'").fetchall() == []
        )
    copied.close()


@sqlite_only
def test_a_current_database_is_not_copied(store: Store, path: Path) -> None:
    opened(path).close()
    assert list(path.parent.glob("*.bak")) == []


@sqlite_only
def test_a_newer_database_is_refused_in_words(store: Store, path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("update alembic_version set version_num = '9999'")
    db.close()
    for may_create in (True, False):
        with pytest.raises(StoreError, match="written by a newer feedwatch"):
            opened(path, may_create=may_create)


@pytest.mark.parametrize("url", ["nonsense", "nosuchdb://x/y", "sqlite:////no/such/folder/x.db"])
def test_a_url_that_leads_nowhere_is_told_in_words(url: str) -> None:
    with pytest.raises(StoreError, match=r"FEEDWATCH_DATABASE_URL|does not work: unable to open"):
        Store(url, processor="inlet", may_create=True)


@sqlite_only
def test_a_file_that_is_no_database_is_told_in_words(path: Path) -> None:
    path.write_bytes(b"this is no database, " * 100)
    with pytest.raises(StoreError, match="is not a database; FEEDWATCH_DATABASE_URL names"):
        opened(path)


@sqlite_only
def test_what_to_do_goes_by_the_error_code_which_not_every_error_has(store: Store) -> None:
    with store._engine.begin() as db:
        db.exec_driver_sql("update feeds set name = cast(x'ff' as text)")  # no UTF-8
    with pytest.raises(StoreError, match="see what it says"):
        store.feeds.all()
    with store._engine.connect() as db:
        db.exec_driver_sql("pragma query_only = on")
    with pytest.raises(StoreError, match="give this user the right to write the file"):
        store.feeds.make_due(NOW)


@sqlite_only
def test_a_commit_survives_a_power_cut_and_readers_do_not_wait(store: Store) -> None:
    with store._engine.connect() as db:
        assert db.exec_driver_sql("pragma synchronous").scalar() == 2  # FULL
        assert db.exec_driver_sql("pragma journal_mode").scalar() == "wal"
        assert db.exec_driver_sql("pragma foreign_keys").scalar() == 1


# Feeds


def test_a_feed_keeps_its_memory_when_its_url_changes_but_not_its_validators(store: Store) -> None:
    admit(store, 1)
    (feed,) = store.feeds.all()
    store.checks.record(
        replace(feed, etag='"1"', baseline_at=NOW, last_full_fetch_at=NOW), [], {}, NOW
    )
    moved = replace(SOURCE, url="https://elsewhere.example/feed")
    store.feeds.sync([moved], {"show": NOW + MINUTE})
    (after,) = store.feeds.all()
    assert (after.id, after.url, after.baseline_at) == (feed.id, moved.url, NOW)
    assert (after.etag, after.last_full_fetch_at, after.due_at) == (None, None, NOW + MINUTE)
    assert store.checks.known(after.id, [Key.parse("guid:1")])


def test_a_shorter_interval_counts_at_the_next_start_and_hints_and_failures_as_before(
    store: Store,
) -> None:
    admit(store, 1)
    (feed,) = store.feeds.all()
    shown = {}
    for failures, wait in ((0, 10 * HOUR), (0, HOUR), (3, 10 * HOUR)):
        late = replace(feed, due_at=NOW + wait, failures=failures, version=feed.version)
        assert store.checks.record(late, [], {}, NOW, before=feed) is not None
        store.feeds.sync([SOURCE], {"show": NOW + MINUTE})
        (feed,) = store.feeds.all()
        shown[failures, wait] = feed.due_at
    assert shown == {
        (0, 10 * HOUR): NOW + MINUTE,
        (0, HOUR): NOW + HOUR,  # four times the interval: a hint may be the reason
        (3, 10 * HOUR): NOW + 10 * HOUR,
    }


def test_a_feed_taken_out_of_the_config_rests_and_remembers(store: Store) -> None:
    admit(store, 1)
    store.feeds.sync([], {})
    assert store.feeds.due(NOW, 2 * DAY, 10) == []
    assert claim(store) is None
    store.feeds.sync([SOURCE], {"show": NOW})
    assert [feed.name for feed in store.feeds.due(NOW, 2 * DAY, 10)] == ["show"]
    assert claim(store) is not None


def test_a_check_does_not_undo_a_pause_made_meanwhile(store: Store) -> None:
    (feed,) = store.feeds.all()
    store.feeds.set_paused("show", NOW, "cli:anna", paused=True)
    store.checks.record(replace(feed, checked_at=NOW), [], {}, NOW, before=feed)
    (after,) = store.feeds.all()
    assert (after.paused, after.checked_at) == (True, NOW)
    assert (after.paused_at, after.paused_by) == (NOW, "cli:anna")


def test_a_second_pause_changes_nothing_of_the_first_and_its_end_forgets_it(store: Store) -> None:
    for feed in (None, "show"):
        for actor, at in (("cli:anna", NOW), ("web:bert", NOW + MINUTE)):
            set_paused(store, ["inlet"], [SOURCE], feed, at, actor, paused=True)
        paused = store.breakers.get("inlet") if feed is None else store.feeds.all()[0]
        assert (paused.paused, paused.paused_at, paused.paused_by) == (True, NOW, "cli:anna")
        set_paused(store, ["inlet"], [SOURCE], feed, NOW, "cli:anna", paused=False)
        after = store.breakers.get("inlet") if feed is None else store.feeds.all()[0]
        assert (after.paused, after.paused_at, after.paused_by) == (False, None, None)


# A check


def test_a_check_is_written_whole_or_not_at_all(store: Store) -> None:
    (feed,) = store.feeds.all()
    admit(store, 1)
    twice = [
        NewEpisode(episode=new_episode(2), keys=[Key.parse("guid:2")], title_key=""),
        NewEpisode(
            episode=new_episode(1), keys=[Key.parse("guid:1")], title_key=""
        ),  # somebody was first
    ]
    assert store.checks.record(replace(feed, etag='"2"'), twice, {}, NOW) is None
    assert [episode.guid for episode in store.episodes.find()] == ["guid-1"]
    assert store.feeds.all()[0].etag is None


def test_a_check_of_the_old_url_is_dropped(store: Store) -> None:
    (feed,) = store.feeds.all()
    store.feeds.sync([replace(SOURCE, url="https://new.example/")], {"show": NOW})
    admission = NewEpisode(episode=new_episode(), keys=[Key.parse("guid:1")], title_key="")
    assert store.checks.record(feed, [admission], {}, NOW) is None
    assert store.episodes.find() == []


def test_of_addresses_learned_one_after_another_the_first_and_the_latest_stay(
    store: Store,
) -> None:
    one, two = admit(store, 1, 2)
    (feed,) = store.feeds.all()
    store.checks.record(feed, [], {Key(KeyKind.FILE, "other"): two.id}, NOW)
    learned = [Key(KeyKind.FILE, f"{9 * number % 40}") for number in range(40)]
    for number, key in enumerate(learned):
        assert store.checks.record(feed, [], {key: one.id}, NOW + number * MINUTE) == []
    kept = {learned[0], *learned[-11:], Key.parse("guid:1")}
    assert {*store.episodes.keys(one.id)} == kept
    assert store.checks.known(feed.id, learned).keys() == kept - {Key.parse("guid:1")}
    assert len(store.episodes.keys(two.id)) == 2


def test_a_learned_key_leads_to_its_episode_and_an_old_one_is_not_bent(store: Store) -> None:
    one, two = admit(store, 1, 2)
    (feed,) = store.feeds.all()
    store.checks.record(feed, [], {Key.parse("file:x"): one.id, Key.parse("guid:2"): one.id}, NOW)
    keys = [Key.parse(text) for text in ("file:x", "guid:1", "guid:2", "guid:3")]
    known = store.checks.known(feed.id, keys)
    assert {str(key): found.id for key, found in known.items()} == {
        "file:x": one.id,
        "guid:1": one.id,
        "guid:2": two.id,
    }


def test_a_new_episode_is_known_as_the_feed_has_it(store: Store) -> None:
    (feed,) = store.feeds.all()
    one = new_episode(1, feed_duration=1800)
    keys = [Key(KeyKind.GUID, "1"), Key(KeyKind.FILE, "1")]
    admission = NewEpisode(episode=one, keys=keys, title_key="one")
    assert store.checks.record(feed, [admission], {}, NOW) is not None
    found = KnownEpisode(
        id=1,
        title_key="one",
        enclosure_url=one.enclosure_url,
        published_at=one.published_at,
        duration=1800,
        state=State.QUEUED,
        guid=one.guid,
        title=one.title,
        first_seen_at=one.first_seen_at,
    )
    assert store.checks.known(feed.id, [*keys, Key(KeyKind.GUID, "2")]) == dict.fromkeys(
        keys, found
    )
    assert store.checks.alike(feed.id, ["one", "Episode 1"], [])[0] == {"one": [found]}


def test_an_episode_without_a_key_is_admitted_all_the_same(store: Store) -> None:
    (feed,) = store.feeds.all()
    assert (
        store.checks.record(
            feed, [NewEpisode(episode=new_episode(), keys=[], title_key="")], {}, NOW
        )
        is not None
    )
    assert [one.title for one in store.episodes.find()] == ["Episode 1"]


def test_more_keys_than_one_query_takes_are_found(store: Store) -> None:
    admit(store, *range(1, 1201))
    (feed,) = store.feeds.all()
    keys = [Key(KeyKind.GUID, str(number)) for number in range(2000)]
    assert len(store.checks.known(feed.id, keys)) == 1200


def test_an_episode_comes_back_as_it_went_in(store: Store) -> None:
    (admitted,) = admit(store, 1, ad_removal_markers=[{"at": 1.5}], duration=12.5)
    assert store.episodes.get(admitted.id) == admitted
    (move,) = store.episodes.history(admitted.id)
    assert (move.at, move.state, move.reason) == (NOW, State.QUEUED, "new")


# Claims


def test_the_oldest_goes_first(store: Store) -> None:
    admit(store, 3, 1, 2)
    claimed = [claim(store), claim(store), claim(store)]
    assert [episode.guid for episode in claimed if episode] == ["guid-1", "guid-2", "guid-3"]


@sqlite_only
def test_the_intent_is_in_the_file_before_the_claim_returns(store: Store, path: Path) -> None:
    admit(store, 1)
    claim(store)
    with sqlite3.connect(path) as other:
        rows = other.execute("select state, attempts, podcast_id from episodes").fetchall()
    other.close()
    assert rows == [("submitting", 1, "p")]


def test_jobs_at_once_are_bounded(store: Store) -> None:
    admit(store, 1, 2, 3)
    policy = replace(POLICY, max_concurrent_jobs=2)
    first = claim(store, policy)
    assert first is not None
    assert claim(store, policy) is not None
    assert claim(store, policy) is None
    assert answer(store, first, Accepted("m"))
    assert claim(store, policy) is None, "an accepted job counts until it is final"


def test_submissions_in_any_24_hours_are_bounded_and_the_surplus_waits(store: Store) -> None:
    admit(store, 1, 2, 3, 4)
    policy = replace(POLICY, max_submissions_per_day=2, max_concurrent_jobs=99)
    for given in (Accepted("m"), Refused("no")):
        claimed = claim(store, policy)
        assert claimed is not None
        assert answer(store, claimed, given)
    assert claim(store, policy, NOW + DAY - MINUTE) is None
    assert store.claims.submitted_since(NOW - DAY) == 2
    assert claim(store, policy, NOW + DAY + MINUTE) is not None


def test_what_surely_never_left_is_not_counted(store: Store) -> None:
    admit(store, 1, 2)
    policy = replace(POLICY, max_submissions_per_day=1)
    claimed = claim(store, policy)
    assert claimed is not None
    assert answer(store, claimed, Later("down", sent=False))
    assert claim(store, policy) is not None


def test_a_pause_of_all_and_a_pause_of_one_hold_claims_back(store: Store) -> None:
    admit(store, 1)
    store.breakers.change("inlet", lambda breaker: replace(breaker, paused=True))
    assert claim(store) is None
    store.breakers.change("inlet", lambda breaker: replace(breaker, paused=False))
    store.feeds.set_paused("show", NOW, "cli:anna", paused=True)
    assert claim(store) is None
    store.feeds.set_paused("show", NOW, "cli:anna", paused=False)
    assert claim(store) is not None


def test_a_tripped_breaker_holds_claims_back_even_after_its_time(store: Store) -> None:
    admit(store, 1)
    store.breakers.change("inlet", lambda breaker: replace(breaker, tripped_until=NOW - MINUTE))
    assert claim(store) is None, "only a read opens it"


def test_what_is_not_due_is_not_claimed(store: Store) -> None:
    admit(store, 1, due_at=NOW + MINUTE)
    assert claim(store) is None
    assert claim(store, now=NOW + MINUTE) is not None


@pytest.mark.parametrize("stores", [1, 2], ids=["one process", "two processes"])
def test_no_episode_is_claimed_twice_however_many_try_at_once(
    store: Store, path: Path, stores: int
) -> None:
    admit(store, *range(1, 21))
    policy = replace(POLICY, max_concurrent_jobs=15)
    connected = [store, *(opened(path) for _ in range(stores - 1))]
    claimed: list[int] = []
    start = threading.Barrier(8)

    def work(one: Store) -> None:
        start.wait()
        while (episode := claim(one, policy)) is not None:
            claimed.append(episode.id)

    threads = [threading.Thread(target=work, args=(connected[n % stores],)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for other in connected[1:]:
        other.close()
    assert len(claimed) == len(set(claimed)) == 15


# Moves


def test_of_two_writers_the_second_writes_nothing(store: Store) -> None:
    (episode,) = admit(store, 1)
    assert store.episodes.save(episode, episode_lifecycle.skipped(episode), NOW) is not None
    assert (
        store.episodes.save(episode, replace(episode, state=State.FAILED, reason="x"), NOW) is None
    )
    after = store.episodes.get(episode.id)
    assert after is not None
    assert after.state is State.SKIPPED
    assert [move.state for move in store.episodes.history(episode.id)] == [
        State.QUEUED,
        State.SKIPPED,
    ]


def test_a_poll_that_says_nothing_new_leaves_no_line_in_the_history(store: Store) -> None:
    (episode,) = admit(store, 1, state=State.PROCESSING, media_id="m")
    store.episodes.save(episode, replace(episode, due_at=NOW + MINUTE), NOW)
    assert len(store.episodes.history(episode.id)) == 1


def test_episodes_are_listed_newest_first_and_filtered(store: Store) -> None:
    admit(store, 1, 3, 2)
    admit(store, 9, state=State.HELD, due_at=None)
    assert [one.guid for one in store.episodes.find(limit=3)] == ["guid-9", "guid-3", "guid-2"]
    assert [one.guid for one in store.episodes.find(states=[State.HELD])] == ["guid-9"]
    assert store.episodes.find(feed="other") == []
    assert store.statistics.by_feed()["show"].by_state == {State.QUEUED: 3, State.HELD: 1}


def test_what_is_due_is_found_in_order_without_what_is_under_way(store: Store) -> None:
    for number, minutes in ((1, 0), (2, -2), (3, -1), (4, 5)):
        due_at = NOW + minutes * MINUTE
        admit(store, number, state=State.PROCESSING, media_id=str(number), due_at=due_at)
    due = store.episodes.due(State.PROCESSING, NOW, 10)
    assert [one.guid for one in due] == ["guid-2", "guid-3", "guid-1"]
    but = store.episodes.due(State.PROCESSING, NOW, 10, but={due[0].id})
    assert [one.guid for one in but] == ["guid-3", "guid-1"]


def test_heartbeats_take_the_place_of_those_before(store: Store) -> None:
    now = datetime.now(UTC)
    store.heartbeats.write({"polls": now, "checks": now}, now)
    store.heartbeats.write({"polls": now - HOUR}, now)
    (found,) = store.heartbeats.read(datetime.now(UTC)).values()
    assert found.keys() == {"polls"}
    assert abs(found["polls"] - (now - HOUR)) < MINUTE  # PostgreSQL's are by its own clock


def test_due_feeds_come_longest_due_first(store: Store) -> None:
    sources = [replace(SOURCE, name=f"f{n}", url=f"https://h/{n}") for n in range(3)]
    due = {source.name: NOW - n * MINUTE for n, source in enumerate(sources)}
    store.feeds.sync(sources, due)
    found = store.feeds.due(NOW, 2 * DAY, 2)
    assert [feed.name for feed in found] == ["f2", "f1"]
    one = store.feeds.get(found[0].id)
    assert one is not None
    assert (one.name, one.url) == ("f2", found[0].url)


def test_one_rule_gives_a_feed_its_state_and_counts_the_feeds_of_each(store: Store) -> None:
    facts = list(itertools.product((False, True), (0, 3), (None, NOW)))
    names = [f"f{number}" for number in range(len(facts))]
    sources = [replace(SOURCE, name=name) for name in names]
    store.feeds.sync(sources, dict.fromkeys(names, NOW))
    of_config = [feed for feed in store.feeds.all() if feed.active]
    for feed, (paused, failures, checked_at) in zip(of_config, facts, strict=True):
        store.checks.record(replace(feed, failures=failures, checked_at=checked_at), [], {}, NOW)
        store.feeds.set_paused(feed.name, NOW, "cli:anna", paused=paused)
    for everything_paused in (False, True):
        store.breakers.change("inlet", partial(replace, paused=everything_paused))
        breaker = store.breakers.get("inlet")
        shown = Counter(feed_state(feed, breaker) for feed in store.feeds.all() if feed.active)
        figures = store.statistics.figures(["inlet"], NOW, most_feeds=9, but_at_most=9)
        assert figures.feeds_by_state == {state: shown[state] for state in FeedState}


def test_no_two_episodes_get_one_media_id(store: Store) -> None:
    first, second = admit(store, 1, 2)
    taken = replace(first, media_id="m1")
    assert store.episodes.save(first, taken, NOW) is not None
    assert store.episodes.save(second, replace(second, media_id="m1"), NOW) is None
    assert store.episodes.get(second.id) == second


# Migrations


@sqlite_only
def test_a_database_of_the_version_before_keeps_its_rows(path: Path) -> None:
    engine = connect(f"sqlite:///{path}")
    with engine.begin() as db:
        migrate(db, command.upgrade, "0001")
        db.exec_driver_sql(
            "insert into feeds (name, url, active, paused, shown, failures, etag) "
            "values ('show', 'https://example.com/feed', true, false, 3, 0, 'kept')"
        )
    engine.dispose()
    store = opened(path)
    (feed,) = store.feeds.all()
    assert (feed.name, feed.etag, feed.item_count) == ("show", "kept", 3)
    assert (feed.moved_url, feed.skip_hours, feed.silent_since) == (None, None, None)
    assert store.feeds.url_changes() == {}
    store.close()
    assert len(list(path.parent.glob("*.bak"))) == 1


@sqlite_only
def test_causes_are_read_once_from_the_texts_that_had_them(path: Path) -> None:
    engine = connect(f"sqlite:///{path}")
    texts = {"gone: the server answered 410": "gone", "Gone: fishing": None, "is gone: no": None}
    episodes = [
        ("failed", "lost: 404", "lost"),
        ("failed", "Lost: 404", None),
        ("failed", "refused: lost: no", None),
        ("processing", "lost: 404", None),  # it may be found yet
        ("skipped", None, None),
    ]
    with engine.begin() as db:
        migrate(db, command.upgrade, "0004")
        for number, error in enumerate((*texts, None)):
            db.exec_driver_sql(
                "insert into feeds (name, url, active, paused, shown, asked, answered, failures, "
                "error) values (?, 'https://example.com/', true, false, 3, 0, 0, 1, ?)",
                (f"show{number}", error),
            )
        for state, reason, _ in episodes:
            db.exec_driver_sql(
                "insert into episodes (feed_id, title, enclosure_url, state, reason, title_key, "
                "seen_url, first_seen_at, attempts, deferrals, remote_stood, overdue, version) "
                "values (1, 't', 'u', ?, ?, 't', 'u', '2026-01-01', 1, 0, 0, false, 0)",
                (state, reason),
            )
    engine.dispose()
    store = opened(path)
    assert [feed.error_kind for feed in store.feeds.all()] == [*texts.values(), None]
    found = sorted(store.episodes.find(), key=lambda episode: episode.id)
    assert [(one.state, one.reason, one.cause) for one in found] == episodes
    assert [is_lost(one) for one in found] == [True, *[False] * 4]
    store.close()
    assert len(list(path.parent.glob("*.bak"))) == 1


@sqlite_only
def test_keys_are_rewritten_in_the_normal_form_and_the_older_episode_keeps_a_shared_one(
    path: Path,
) -> None:
    engine = connect(f"sqlite:///{path}")
    before = [  # feed, key, episode
        (1, "guid:gro\u0308\u00dfe", 2),
        (1, "guid:gr\u00f6\u00dfe", 1),  # two that are one
        (1, "guid:plain", 3),
        (1, "guid:sha256-" + "0" * 64, 3),
        (1, "guid:a%2fb", 4),
        (1, "guid:a%2Fb", 5),
        (2, "guid:gro\u0308\u00dfe", 6),  # of another feed
        (1, "file:m.example/gr%c3%b6%C3%9Fe.mp3?id=1", 1),
        (1, "file:c.example/1.mp3?token-time=1&token-hash=2", 2),
        (1, "file:c.example/1.mp3?token-time=3&token-hash=4", 2),
        (1, "file:c.example/dl?token-hash=1", 3),  # the parameter tells episodes apart
        (1, "file:c.example/dl?token-hash=2", 4),
        (1, "date:2026-01-01T00:00:00 \ufb01n", 1),
        (1, "date:2026-01-01T00:00:00 sha256-" + "1" * 64, 2),
    ]
    with engine.begin() as db:
        migrate(db, command.upgrade, "0005")
        for number in (1, 2):
            db.exec_driver_sql(
                "insert into feeds (name, url, active, paused, shown, asked, answered, failures) "
                "values (?, 'https://example.com/', true, false, 3, 0, 0, 1)",
                (f"show{number}",),
            )
        for number in range(1, 7):
            db.exec_driver_sql(
                "insert into episodes (feed_id, title, enclosure_url, state, title_key, "
                "seen_url, first_seen_at, attempts, deferrals, remote_stood, overdue, version) "
                "values (?, 't', 'u', 'ready', ?, 'u', '2026-01-01', 1, 0, 0, false, 0)",
                (1 if number < 6 else 2, f"gru\u0308n {number}"),
            )
        db.exec_driver_sql(
            "insert into identities (feed_id, key, episode_id) values (?, ?, ?)", before
        )
    engine.dispose()
    store = opened(path)
    with store._engine.connect() as db:
        found = db.exec_driver_sql("select feed_id, key, episode_id from identities")
        assert {tuple(row) for row in found} == {
            (1, "guid:gr\u00f6\u00dfe", 1),
            (1, "guid:plain", 3),
            (1, "guid:sha256-" + "0" * 64, 3),
            (1, "guid:a%2Fb", 4),
            (2, "guid:gr\u00f6\u00dfe", 6),
            (1, "file:m.example/gr\u00f6\u00dfe.mp3?id=1", 1),
            (1, "file:c.example/1.mp3", 2),
            (1, "file:c.example/dl?token-hash=1", 3),
            (1, "file:c.example/dl?token-hash=2", 4),
            (1, "date:2026-01-01T00:00:00 fin", 1),
            (1, "date:2026-01-01T00:00:00 sha256-" + "1" * 64, 2),
        }
        titles = db.exec_driver_sql("select title_key from episodes order by id").scalars()
        assert list(titles) == [f"gr\u00fcn {number}" for number in range(1, 7)]
    store.close()


def test_only_what_is_due_and_in_the_config_is_taken_to_be_checked(store: Store) -> None:
    sources = [replace(SOURCE, name=name) for name in ("due", "later", "gone")]
    store.feeds.sync(sources, {"due": NOW, "later": NOW + HOUR, "gone": NOW})
    store.feeds.sync(sources[:2], dict.fromkeys(("due", "later"), NOW))
    ids = [one.id for one in store.feeds.all()]
    assert [one.name for one in store.feeds.take(ids, NOW, 2 * DAY)] == ["due"]
    assert [one.name for one in store.feeds.take(ids, NOW - 3 * DAY, 2 * DAY)] == ["due", "later"]
    store.feeds.give_back(ids)
    assert store.feeds.take([], NOW, 2 * DAY) == []


def test_a_feed_that_is_put_off_is_not_gone_any_more(store: Store) -> None:
    (feed,) = store.feeds.all()
    gone = replace(feed, failures=1, error="gone", error_kind=ErrorKind.GONE)
    assert store.checks.record(gone, [], {}, NOW) == []
    assert store.feeds.all()[0].error_kind is ErrorKind.GONE
    store.feeds.put_off(feed.id, NOW + DAY, "broken")
    (after,) = store.feeds.all()
    assert (after.error, after.error_kind, after.failures) == ("broken", None, 2)


@sqlite_only
def test_a_migration_can_be_undone(path: Path) -> None:
    opened(path).close()
    engine = connect(f"sqlite:///{path}")
    with engine.begin() as db:
        migrate(db, command.downgrade, "0001")
        assert "departures" not in inspect(db).get_table_names()
    engine.dispose()
    opened(path).close()


def test_feeds_are_made_due_all_or_some_of_them(store: Store) -> None:
    sources = [replace(SOURCE, name=f"f{n}", url=f"https://h/{n}") for n in range(3)]
    store.feeds.sync(sources, {source.name: NOW + MINUTE for source in sources})
    store.feeds.make_due(NOW, ["f1"])
    assert [feed.name for feed in store.feeds.due(NOW, 2 * DAY, 9)] == ["f1"]
    store.feeds.make_due(NOW)
    assert len(store.feeds.due(NOW, 2 * DAY, 9)) == 3


def test_a_check_writes_over_no_doubt_that_came_while_it_ran(store: Store) -> None:
    store.feeds.sync([SOURCE], {"show": NOW})
    (before,) = store.feeds.all()
    store.claims.hold_everything(NOW, episode_lifecycle.doubted)
    after = replace(before, checked_at=NOW, success_at=NOW)
    assert store.checks.record(after, [], {}, NOW, before=before) is None
    store.checks.record_unchanged([(before, after)])
    (doubted,) = store.feeds.all()
    assert (doubted.hold_if_published_before, doubted.checked_at) == (NOW, None)
    assert store.checks.record(replace(doubted, checked_at=NOW), [], {}, NOW, before=doubted) == []


def test_a_move_by_an_older_reading_of_the_episode_is_none(store: Store) -> None:
    store.feeds.sync([SOURCE], {"show": NOW})
    (before,) = admit(store, 1)
    saved = store.episodes.save(before, replace(before, due_at=NOW), NOW)
    assert saved is not None
    assert store.episodes.save(before, replace(before, reason="older"), NOW) is None
    assert store.episodes.save(saved, replace(saved, reason="newer"), NOW) is not None
    (found,) = store.episodes.find()
    assert (found.reason, found.due_at) == ("newer", NOW)
