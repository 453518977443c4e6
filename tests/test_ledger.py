"""The ledger: payment identity, what a comparison means, and what is imported."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from feedwatch.core import episode_lifecycle, ledger_lifecycle
from feedwatch.core.episode import Episode, State
from feedwatch.core.identity import Key
from feedwatch.core.job import Accepted, Answer, Later, Refused, Unknown
from feedwatch.core.ledger import (
    Claim,
    Finding,
    Outcome,
    Target,
    finding,
    is_loopback,
    key_hash,
    origin,
    outcome_of,
    state_if_paid,
)
from feedwatch.core.pipeline import Step
from feedwatch.core.settings import FeedConfig
from feedwatch.store.checks import NewEpisode
from feedwatch.store.claims import ClaimResult, Intent
from feedwatch.store.errors import StoreError
from feedwatch.store.imports import meet_claims
from feedwatch.store.journal import Journal
from feedwatch.store.store import Store
from feedwatch.watcher.tasks import polled_task
from tests.databases import sqlite_only
from tests.empty_database import empty_database
from tests.support import one_in
from tests.test_store import (
    NOW,
    POLICY,
    SOURCE,
    TARGET,
    admit,
    answer,
    claim_result,
    new_episode,
)
from tests.world import World, world

LONG_GUID = "0123456789-0123456789"


def claim_of(*keys: str, **values: object) -> Claim:
    plain = Claim(
        number=1,
        token="t",
        at=NOW,
        target=TARGET,
        feed="other",
        title="Episode",
        keys=tuple(key_hash(Key.parse(key)) for key in keys),
    )
    return replace(plain, **values)  # type: ignore[arg-type]


# Payment identity


@pytest.mark.parametrize(
    ("own", "theirs", "state"),
    [
        ({"guid:g", "file:f"}, {"guid:g", "file:f"}, State.SKIPPED),
        ({"guid:g", "file:f"}, {"guid:g"}, None),  # a short guid alone
        ({"guid:g", "file:f"}, {"file:f"}, State.HELD),
        ({f"guid:{LONG_GUID}", "file:f"}, {f"guid:{LONG_GUID}"}, State.HELD),
        ({"guid:http://a/1"}, {"guid:http://a/1"}, State.HELD),
        ({"date:2026 x", "file:f"}, {"date:2026 x"}, State.HELD),
        ({"guid:g", "date:2026 x"}, {"guid:g", "date:2026 x"}, State.HELD),
        ({"guid:g", "file:f"}, {"guid:h", "file:e"}, None),
        ({"guid:g"}, {"file:g"}, None),
        (set(), {"file:f"}, None),
    ],
)
def test_an_episode_is_paid_for_where_signs_agree_with_a_claim(
    own: set[str], theirs: set[str], state: State | None
) -> None:
    keys = [Key.parse(key) for key in own]
    assert state_if_paid(keys, claim_of(*theirs)) is state


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://api.example/v1/", "https://api.example:443"),
        ("http://api.example", "http://api.example:80"),
        ("http://[::1]:8010/x", "http://[::1]:8010"),
    ],
)
def test_an_api_is_known_by_its_origin(url: str, expected: str) -> None:
    assert origin(url) == expected


@pytest.mark.parametrize("api", ["http://127.0.0.1:80", "http://[::1]:80", "http://localhost:1"])
def test_what_is_on_this_machine_is_a_sandbox(api: str) -> None:
    assert is_loopback(api)
    assert not is_loopback("https://api.example:443")
    assert not is_loopback("")


@pytest.mark.parametrize(
    ("given", "outcome"),
    [
        (Accepted("m"), Outcome.ACCEPTED),
        (Refused("no"), Outcome.REFUSED),
        (Later("down"), Outcome.NOT_TAKEN),
        (Unknown("?"), Outcome.UNKNOWN),
    ],
)
def test_each_answer_has_an_outcome(given: Answer, outcome: Outcome) -> None:
    assert outcome_of(given) is outcome


# The comparison


def test_every_pair_of_outcomes_means_what_the_table_says() -> None:
    for recorded, known in product(Outcome, Outcome):
        ids = {Outcome.ACCEPTED: "m"}
        ours = claim_of(outcome=recorded, media_id=ids.get(recorded))
        ledger = {"t": claim_of(outcome=known, media_id=ids.get(known))}
        answered = known is Outcome.OPEN and recorded is not Outcome.OPEN
        found = known is Outcome.UNKNOWN and recorded is Outcome.ACCEPTED
        expected = Finding.SETTLED if answered or found else None
        assert finding(ours, ledger) is expected, (recorded, known)
        assert finding(ours, {}) is Finding.MISSING
    one = claim_of(outcome=Outcome.ACCEPTED, media_id="m")
    other = replace(one, media_id="n")
    assert finding(one, {"t": other}) is Finding.CONTRADICTED


def episode_of(state: State, **values: Any) -> Episode:
    plain = Episode(
        feed="show",
        guid="g",
        title="Episode",
        description="",
        enclosure_url="https://m.example/1.mp3",
        published_at=NOW,
        state=state,
        reason=None,
        first_seen_at=NOW,
    )
    return replace(plain, **values)


def test_what_is_imported_moves_every_state_but_those_that_have_a_job() -> None:
    for state, outcome in product(State, Outcome):
        before = episode_of(state)
        paid = claim_of(outcome=outcome, media_id="m" if outcome is Outcome.ACCEPTED else None)
        after = ledger_lifecycle.imported(before, paid, NOW, POLICY)
        nothing_new = state is State.UNKNOWN and outcome is not Outcome.ACCEPTED
        has_job = state in (State.PROCESSING, State.READY)
        if nothing_new or has_job or outcome in (Outcome.REFUSED, Outcome.NOT_TAKEN):
            assert after is None
            continue
        assert after is not None
        assert after.reason is not None
        assert "which this database did not know" in after.reason
        if outcome is Outcome.ACCEPTED:
            assert (after.state, after.media_id) == (State.PROCESSING, "m")
            assert after.due_at is not None
            assert timedelta() <= after.due_at - NOW <= POLICY.poll_interval
        else:
            assert after.state is State.UNKNOWN


@pytest.mark.parametrize("outcome", [Outcome.OPEN, Outcome.UNKNOWN, Outcome.ACCEPTED])
@pytest.mark.parametrize("state", [one for one in State if one is not State.READY])
def test_a_claim_for_a_further_step_moves_whatever_is_at_an_earlier_one(
    state: State, outcome: Outcome
) -> None:
    before = episode_of(state, step=Step.ENHANCE, claim=1, media_id="earlier", overdue=True)
    media_id = "m" if outcome is Outcome.ACCEPTED else None
    further = claim_of(number=2, step=Step.ADS, outcome=outcome, media_id=media_id)
    after = ledger_lifecycle.imported(before, further, NOW, POLICY)
    assert after is not None
    assert (after.step, after.claim, after.media_id) == (Step.ADS, 2, media_id)
    assert (after.source_url, after.overdue) == (before.enclosure_url, False)
    assert after.state is (State.PROCESSING if media_id else State.UNKNOWN)


def test_an_episode_in_doubt_is_about_its_latest_post() -> None:
    before = episode_of(State.UNKNOWN, claim=2)
    for number, expected in ((1, None), (2, None), (3, 3)):
        doubtful = claim_of(number=number, outcome=Outcome.UNKNOWN)
        after = ledger_lifecycle.imported(before, doubtful, NOW, POLICY)
        assert (after.claim if after is not None else None) == expected


# In the database


def paid(store: Store, given: Answer) -> Claim:
    """An episode of the feed, submitted, with this answer."""
    admit(store, 1)
    made = claim_result(store)
    assert made.claim is not None
    assert made.episode is not None
    assert answer(store, made.episode, given) is not None
    (found,) = store.claims.latest(9)
    return found


@pytest.mark.parametrize(
    ("given", "outcome", "sent"),
    [
        (Accepted("m"), Outcome.ACCEPTED, True),
        (Refused("no"), Outcome.REFUSED, True),
        (Later("down"), Outcome.NOT_TAKEN, True),
        (Later("never connected", sent=False), Outcome.NOT_TAKEN, False),
        (Unknown("?"), Outcome.UNKNOWN, True),
    ],
)
def test_a_claim_is_settled_once_with_what_the_answer_proves(
    store: Store, given: Answer, outcome: Outcome, sent: bool
) -> None:
    found = paid(store, given)
    assert (found.outcome, found.sent) == (outcome, sent)
    assert found.media_id == ("m" if outcome is Outcome.ACCEPTED else None)
    assert found.keys == (key_hash(Key.parse("guid:1")),)
    episode = store.episodes.get(found.episode_id or 0)
    assert episode is not None
    store.claims.settle(found.token, Outcome.NOT_TAKEN, episode, episode, NOW, sent=False)
    (again,) = store.claims.latest(9)
    may_change = outcome is Outcome.UNKNOWN
    assert (again.outcome is Outcome.NOT_TAKEN) == (may_change or outcome is Outcome.NOT_TAKEN)


def test_a_ledger_without_the_last_claim_makes_no_other(store: Store) -> None:
    admit(store, 1)

    def never(_: Episode) -> None:
        raise AssertionError

    result = store.claims.claim("inlet", NOW, POLICY, never, last="of another database")
    assert result.ledger_differs
    assert result.claim is None


def take_over(store: Store, *missing: Claim, feeds: tuple[str, ...] = ("show",)) -> object:
    return store.imports.take_over(
        missing, {TARGET.id: feeds}, NOW, POLICY, {"inlet": TARGET.api}
    ).done


def test_a_missing_claim_is_met_by_its_episode_and_doubts_what_is_older(store: Store) -> None:
    (episode,) = admit(store, 1)
    missing = claim_of("guid:1", feed="show", outcome=Outcome.ACCEPTED, media_id="m")
    take_over(store, missing)
    found = store.episodes.get(episode.id)
    assert found is not None
    assert (found.state, found.media_id) == (State.PROCESSING, "m")
    (imported,) = store.claims.latest(9)
    assert imported.episode_id == episode.id
    (feed,) = store.feeds.all()
    assert (feed.hold_if_published_before, feed.doubted_at, feed.version) == (NOW, NOW, 1)


def test_what_was_posted_under_another_id_is_polled_under_that_one(
    store: Store, tmp_path: Path
) -> None:
    (episode,) = admit(store, 1)
    made = claim_of("guid:1", feed="show", outcome=Outcome.ACCEPTED, media_id="m")
    made = replace(made, episode_id=episode.id + 7, posted_for=episode.id + 7)
    take_over(store, made)
    (imported,) = store.claims.latest(9)
    found = store.episodes.get(episode.id)
    assert found is not None
    task = polled_task(store, found)
    assert (task.token, task.feed, task.episode_id) == ("t", "show", episode.id + 7)
    written = Journal([tmp_path / "claims"])
    written.append_claim(imported)
    (again,) = written.read()
    assert again.posted_for == episode.id + 7, "the next restore needs it as well"


def test_of_several_claims_the_newest_that_may_be_paid_decides(store: Store) -> None:
    (episode,) = admit(store, 1)
    first = claim_of("guid:1", feed="show", token="a", number=1, outcome=Outcome.UNKNOWN)
    second = replace(first, token="b", number=2, outcome=Outcome.ACCEPTED, media_id="m")
    third = replace(first, token="c", number=3, outcome=Outcome.REFUSED)
    take_over(store, first, second, third)
    found = store.episodes.get(episode.id)
    assert found is not None
    assert (found.state, found.media_id) == (State.PROCESSING, "m")


def test_a_number_that_is_taken_gets_the_next_free_one(store: Store) -> None:
    paid(store, Accepted("m"))
    take_over(store, claim_of("guid:7", token="a", number=1), claim_of(token="b", number=9))
    take_over(store, claim_of("guid:8", token="c", number=9))
    assert [(one.number, one.token) for one in store.claims.latest(9)][1:] == [
        (9, "b"),
        (10, "a"),
        (11, "c"),
    ]


def test_two_missing_claims_of_one_number_get_two(store: Store) -> None:
    take_over(store, claim_of(token="a", number=4), claim_of(token="b", number=4))
    assert [(one.number, one.token) for one in store.claims.latest(9)] == [(4, "a"), (5, "b")]


def test_of_two_episodes_with_one_job_the_second_is_in_doubt(store: Store) -> None:
    first, second = admit(store, 1, 2)
    job = {"feed": "show", "outcome": Outcome.ACCEPTED, "media_id": "m"}
    take_over(
        store,
        claim_of("guid:1", token="a", number=1, **job),
        claim_of("guid:2", token="b", number=2, **job),
    )
    states = {one.id: one.state for one in store.episodes.find()}
    assert states == {first.id: State.PROCESSING, second.id: State.UNKNOWN}


def test_a_claim_that_waits_for_its_item_pays_for_one_episode_only(store: Store) -> None:
    take_over(store, claim_of("guid:1", "file:1", feed="show", outcome=Outcome.UNKNOWN))
    (feed,) = store.feeds.all()
    new = [
        NewEpisode(episode=new_episode(number), keys=[Key.parse(key)], title_key="", place=number)
        for number, key in enumerate(("guid:1", "file:1"))
    ]
    paid = partial(meet_claims, targets=[TARGET], now=NOW, policy=POLICY)
    moved = store.checks.record(feed, new, {}, NOW, paid=paid)
    assert moved is not None
    assert [after.state for _, after in moved] == [State.UNKNOWN]
    result = claim_result(store)
    assert result.claim is None, "the other one is paid for as well, by the ledger"
    assert [after.state for _, after in result.others] == [State.HELD]


def test_an_episode_is_found_in_the_claims_own_feed_whatever_its_podcast_is_now(
    store: Store,
) -> None:
    (episode,) = admit(store, 1)
    take_over(
        store,
        claim_of("guid:1", feed="show", outcome=Outcome.UNKNOWN),
        feeds=("another feed has that podcast now",),
    )
    found = store.episodes.get(episode.id)
    assert found is not None
    assert found.state is State.UNKNOWN


def test_a_claim_of_another_target_meets_nothing(store: Store) -> None:
    (episode,) = admit(store, 1)
    take_over(store, claim_of("guid:1", feed="gone", target=Target("inlet", TARGET.api, "q")))
    found = store.episodes.get(episode.id)
    assert found is not None
    assert found.state is State.QUEUED


def test_a_refused_post_counts_in_the_limit_of_a_day_and_one_that_never_left_does_not(
    store: Store,
) -> None:
    one_a_day = replace(POLICY, max_submissions_per_day=1)
    paid(store, Later("never connected", sent=False))
    admit(store, 2)
    made = claim_result(store, one_a_day)
    assert made.episode is not None
    assert answer(store, made.episode, Refused("no")) is not None
    admit(store, 3)
    assert claim_result(store, one_a_day).episode is None
    assert store.claims.submitted_since(NOW - timedelta(days=1)) == 1


NETWORK = FeedConfig(
    name="network", url="https://h.example/all", podcast_id="p", check_interval=timedelta(hours=1)
)


def paid_by_both_feeds(store: Store, target: Target) -> ClaimResult:
    """The feed `network` has the episode that the feed `show` has paid for at `TARGET`."""
    store.feeds.sync([SOURCE, NETWORK], {"show": NOW, "network": NOW})
    keys = [Key.parse("guid:1"), Key.parse("file:m.example/1.mp3")]
    for name in ("show", "network"):
        (feed,) = (one for one in store.feeds.all() if one.name == name)
        new = NewEpisode(episode=new_episode(1, feed=name), keys=keys, title_key="")
        assert store.checks.record(feed, [new], {}, NOW) is not None
        if name == "show":
            made = claim_result(store)
            assert made.episode is not None
            assert answer(store, made.episode, Accepted("m")) is not None

    def intent(episode: Episode) -> Intent:
        return Intent(episode_lifecycle.claimed(episode, target.id, NOW), target)

    return store.claims.claim("inlet", NOW, POLICY, intent)


def test_an_episode_that_another_feed_has_paid_for_at_this_podcast_is_skipped(
    store: Store,
) -> None:
    result = paid_by_both_feeds(store, TARGET)
    assert result.claim is None
    ((before, after),) = result.others
    assert (before.feed, after.state) == ("network", State.SKIPPED)
    assert after.reason is not None
    assert after.reason.startswith("already submitted as episode 1 of feed show")


def test_an_episode_is_paid_for_once_more_at_another_podcast(store: Store) -> None:
    result = paid_by_both_feeds(store, TARGET._replace(id="of the network"))
    assert result.claim is not None
    assert result.claim.feed == "network"


def test_a_check_that_began_before_a_copy_was_restored_under_it_writes_nothing(
    store: Store,
) -> None:
    """Its validators would be those of a document whose episodes the copy does not have."""
    (restored,) = store.feeds.all()
    began_with = replace(restored, checked_at=NOW)
    after = replace(began_with, checked_at=NOW + timedelta(minutes=1), etag="of the document")
    assert store.checks.record(after, [], {}, NOW, before=began_with) is None
    store.checks.record_unchanged([(began_with, after)])
    assert store.feeds.all() == [restored]
    store.checks.record_unchanged([(restored, after)])
    assert store.feeds.all()[0].etag == "of the document"


# In the loops


@pytest.fixture
def watched(tmp_path: Path, both_databases: str) -> Iterator[World]:
    """A feed with one queued episode, and a journal."""
    with world(tmp_path / "feedwatch.db") as watched:
        watched.feeds.publish(1)
        watched.check()
        watched.context.journal = Journal([tmp_path / "claims"])
        watched.submissions.recover()
        yield watched


def elsewhere(watched: World, **values: object) -> Claim:
    """The claim of a POST for episode 1 that a daemon with another database has sent."""
    plain = claim_of(
        "guid:guid-1",
        feed="show",
        at=watched.now,
        target=Target("inlet", watched.context.apis["inlet"], watched.sources[0].podcast_id),
        outcome=Outcome.ACCEPTED,
        media_id="m",
        settled_at=watched.now,
    )
    return replace(plain, **values)  # type: ignore[arg-type]


def test_what_another_process_has_written_to_the_journal_is_read_before_the_next_post(
    watched: World, tmp_path: Path
) -> None:
    Journal([tmp_path / "claims"]).bring_up_to_date([elsewhere(watched)])
    watched.submit()
    assert watched.sandbox.submissions == []
    assert watched.episode().media_id == "m"


def test_another_job_in_the_journal_is_told_once_and_the_databases_own_stays(
    watched: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As where the API gave the id of another episode's job, and a person has adopted the own."""
    watched.store.outbox.open(["webhook"])
    watched.submit()
    (ours,) = watched.store.claims.latest(9)
    written = Journal([tmp_path / "claims"])
    written.append_outcome(ours.token, Outcome.ACCEPTED, "another's", watched.now)
    for _ in range(2):
        watched.submissions.recover()
    assert caplog.text.count("journal and database disagree") == 1
    told = watched.store.outbox.due("webhook", watched.now)
    assert told is not None
    assert told.event.type == "database.contradicted"
    assert told.event.data == {
        "feed": "show",
        "episode_id": ours.episode_id,
        "title": ours.title,
        "media_id": ours.media_id,
        "media_id_in_journal": "another's",
    }
    watched.store.outbox.delivered(told)
    assert watched.store.outbox.due("webhook", watched.now) is None
    assert watched.episode().media_id == ours.media_id
    assert [one.media_id for one in written.read()] == [ours.media_id]
    assert watched.store.claims.latest(9) == [ours]


def test_a_claim_is_missed_by_its_token_though_there_are_as_many_and_its_number_is_taken(
    watched: World, tmp_path: Path
) -> None:
    watched.submit()
    assert len(watched.sandbox.submissions) == 1
    watched.feeds.publish(2, 1)
    watched.later(hours=1)
    watched.check()
    (ours,) = watched.context.store.claims.latest(9)
    of_other = elsewhere(watched, keys=(key_hash(Key.parse("guid:guid-2")),), number=ours.number)
    (tmp_path / "claims").unlink()
    Journal([tmp_path / "claims"]).bring_up_to_date([of_other])
    watched.submit()
    assert len(watched.sandbox.submissions) == 1
    assert watched.episode("guid-2").media_id == "m"


def test_an_answer_that_comes_while_its_item_was_not_met_yet_is_found_by_the_item(
    watched: World, tmp_path: Path
) -> None:
    of_two = elsewhere(watched, keys=(key_hash(Key.parse("guid:guid-2")),))
    without = replace(of_two, outcome=Outcome.OPEN, media_id=None, settled_at=None)
    written = Journal([tmp_path / "claims"])
    written.bring_up_to_date([without])
    watched.submissions.recover()
    written.append_outcome(of_two.token, Outcome.ACCEPTED, "m", watched.now)
    watched.submissions.recover()
    watched.feeds.publish(2, 1)
    watched.later(hours=1)
    watched.check()
    assert (watched.episode("guid-2").state, watched.episode("guid-2").media_id) == (
        State.PROCESSING,
        "m",
    )


ANSWERED = (Outcome.ACCEPTED, Outcome.REFUSED, Outcome.NOT_TAKEN)
DECIDED = (State.QUEUED, State.UNKNOWN, State.PROCESSING, State.READY)


@pytest.mark.parametrize("case", one_in(3, product(ANSWERED, DECIDED)), ids=str)
def test_an_answer_in_the_journal_alone_moves_what_is_not_submitting_only_to_its_job(
    watched: World, tmp_path: Path, case: tuple[Outcome, State]
) -> None:
    """A process that has ended may have written it after the episode was decided otherwise."""
    outcome, state = case
    claimed = watched.submissions._claim(watched.context.processors["inlet"])
    assert claimed is not None
    before = watched.episode()
    media_id = "n" if state in (State.PROCESSING, State.READY) else None
    moved = replace(before, state=state, media_id=media_id)
    assert watched.store.episodes.save(before, moved, watched.now) is not None
    answer = "m" if outcome is Outcome.ACCEPTED else None
    watched.context.journal.append_claim(claimed.claim)
    Journal([tmp_path / "claims"]).append_outcome(claimed.claim.token, outcome, answer, watched.now)
    watched.submissions.recover()
    found = watched.episode()
    becomes = answer is not None and media_id is None
    assert (found.state, found.media_id) == (
        (State.PROCESSING, "m") if becomes else (state, media_id)
    )


@pytest.mark.parametrize("step", [("imports", "take_over"), ("claims", "settle")])
@pytest.mark.parametrize("older", [True, False])
def test_a_copy_restored_within_a_comparison_is_compared_at_the_next_one(
    watched: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: tuple[str, str],
    *,
    older: bool,
) -> None:
    """Just before the step, the claim is there or not, and its episode has another version."""
    path, copy = tmp_path / "feedwatch.db", tmp_path / "copy.db"
    if older:
        back_up(path, copy)
    claimed = watched.submissions._claim(watched.context.processors["inlet"])
    assert claimed is not None
    if not older:
        before = watched.episode()
        doubtful = episode_lifecycle.presumed_lost(before, watched.now, watched.policy)
        watched.store.episodes.save(before, doubtful, watched.now)
        back_up(path, copy)
        watched.store.episodes.save(watched.episode(), before, watched.now)
    watched.context.journal.append_claim(claimed.claim)
    watched.context.journal.append_outcome(claimed.claim.token, Outcome.ACCEPTED, "m", watched.now)
    owner = getattr(watched.store, step[0])
    original = getattr(owner, step[1])

    def restored(*args: object, **kwargs: object) -> object:
        back_up(copy, path)
        return original(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(owner, step[1], restored)
        watched.submissions.recover()
    watched.submissions.recover()
    assert (watched.episode().state, watched.episode().media_id) == (State.PROCESSING, "m")
    assert [one.outcome for one in watched.store.claims.latest(9)] == [Outcome.ACCEPTED]


def back_up(database: Path, to: Path) -> None:
    """As SQLite's own tool does it, also over a file that is open."""
    with closing(sqlite3.connect(database)) as old, closing(sqlite3.connect(to)) as new:
        old.backup(new)


@sqlite_only
def test_an_answer_that_comes_after_a_restore_is_not_given_to_the_episode_with_that_id(
    watched: World, tmp_path: Path
) -> None:
    claimed = watched.submissions._claim(watched.context.processors["inlet"])
    assert claimed is not None
    watched.store.close()
    path = tmp_path / "feedwatch.db"
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    shutil.copy(empty_database(), path)  # a copy from before the episode
    url = f"sqlite:///{path}"
    watched.store = watched.context.store = Store(url, processor="inlet", may_create=True)
    watched.store.feeds.sync(watched.sources, {"show": watched.now})
    watched.feeds.publish(2)
    watched.check()
    other = watched.episode("guid-2")
    assert other.id == claimed.episode.id
    doubtful = replace(other, state=State.UNKNOWN, reason="a job of it may exist")
    assert watched.store.episodes.save(other, doubtful, watched.now) is not None
    watched.submissions._submit(*claimed)
    assert watched.episode("guid-2").state is State.UNKNOWN
    watched.submit()
    watched.feeds.publish(2, 1)
    watched.later(hours=1)
    watched.check()
    watched.submit()
    (job,) = watched.sandbox.jobs
    assert watched.episode("guid-1").media_id == job


def test_an_answer_is_in_the_journal_before_the_database_is_asked_to_take_it(
    watched: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(watched.context.store.claims, "settle", fail)
        with pytest.raises(StoreError):
            watched.submit()
    (recorded,) = Journal([tmp_path / "claims"]).read()
    assert recorded.outcome is Outcome.ACCEPTED
    watched.submissions._answers._unsaved.clear()  # the process ends, and another one begins
    watched.submissions.recover()
    assert watched.episode().media_id == recorded.media_id


def test_the_line_of_a_claim_is_in_the_journal_before_the_post_leaves(
    watched: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    submit = watched.context.processors["inlet"].submit

    def look(*args: object) -> Answer:
        seen.extend(Journal([tmp_path / "claims"]).read())
        return submit(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(watched.context.processors["inlet"], "submit", look)
    watched.submit()
    assert [one.outcome for one in seen] == [Outcome.OPEN]


def test_a_move_is_not_written_to_another_state_or_another_episode_of_the_same_version(
    store: Store,
) -> None:
    (before,) = admit(store, 1)
    skipped = episode_lifecycle.skipped(before)
    for other in (
        replace(before, state=State.PROCESSING),
        replace(before, first_seen_at=NOW - timedelta(days=1)),
    ):
        assert store.episodes.save(other, skipped, NOW) is None
    assert store.episodes.save(before, skipped, NOW) is not None
