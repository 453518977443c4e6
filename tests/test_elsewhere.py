"""Claims that were made elsewhere, at a sandbox or another host, are none of the API's here."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from feedwatch.core.episode import Episode, State
from feedwatch.core.identity import Key
from feedwatch.core.ledger import Claim, Outcome, Target, is_at, paid_by
from feedwatch.store.checks import NewEpisode
from feedwatch.store.claims import Intent
from feedwatch.store.imports import meet_claims
from feedwatch.store.journal import Journal
from feedwatch.store.store import Store
from feedwatch.watcher import decisions
from feedwatch.watcher.errors import RequestError
from feedwatch.watcher.restore import compare, next_import
from tests.test_ledger import claim_of
from tests.test_store import NOW, POLICY, TARGET, admit, claim_result, new_episode
from tests.world import World
from tests.world import world as a_world

SANDBOX, STAGING = "http://127.0.0.1:8010", "https://staging.example:443"
KEYS = [Key.parse("guid:1"), Key.parse("file:m.example/1.mp3")]


@pytest.fixture
def world(tmp_path: Path, both_databases: str) -> Iterator[World]:
    with a_world(tmp_path / "feedwatch.db") as world:
        yield world


def there(api: str, **values: object) -> Claim:
    """A claim for the podcast of `SOURCE`, at another API."""
    job = {"outcome": Outcome.ACCEPTED, "media_id": "m", "feed": "show"}
    target = TARGET._replace(api=api)
    return claim_of("guid:1", "file:m.example/1.mp3", target=target, **(job | values))


def take_over(store: Store, claim: Claim, api: str) -> object:
    return store.imports.take_over(
        [claim], {TARGET.id: ("show",)}, NOW, POLICY, {"inlet": api}
    ).done


def meet(store: Store, target: Target) -> list[Episode]:
    """What a new episode that the claim is for becomes, if anything."""
    (feed,) = store.feeds.all()
    new = NewEpisode(episode=new_episode(1), keys=KEYS, title_key="", place=0)
    paid = partial(meet_claims, targets=[target], now=NOW, policy=POLICY)
    moved = store.checks.record(feed, [new], {}, NOW, paid=paid)
    assert moved is not None
    return [after for _, after in moved]


@pytest.mark.parametrize("api", [SANDBOX, STAGING])
def test_a_claim_that_waits_for_its_item_is_met_at_its_own_api_alone(
    store: Store, api: str
) -> None:
    take_over(store, there(api), api)
    assert store.imports.waiting([TARGET], [], {}) == []
    assert store.imports.waiting([TARGET], [there(api, token="u", number=2)], {}) == []
    assert len(store.imports.waiting([TARGET._replace(api=api)], [], {})) == 1
    assert meet(store, TARGET) == []


@pytest.mark.parametrize("api", [TARGET.api, ""])
def test_one_of_this_api_or_of_the_first_feedwatch_is_met(store: Store, api: str) -> None:
    take_over(store, there(api), TARGET.api)
    ((episode),) = meet(store, TARGET)
    assert (episode.state, episode.media_id) == (State.PROCESSING, "m")


def test_what_a_sandbox_was_sent_is_submitted_and_what_another_host_was_sent_is_held(
    store: Store,
) -> None:
    take_over(store, there(SANDBOX), SANDBOX)
    take_over(store, there(STAGING, token="u", number=2, feed="gone"), STAGING)
    meet(store, TARGET)
    ((_, held),) = claim_result(store).others
    assert held.state is State.HELD
    assert f"to {STAGING}, which is not FEEDWATCH_API_URL" in (held.reason or "")


def test_a_sandboxs_claim_alone_keeps_nothing_from_the_live_api(store: Store) -> None:
    take_over(store, there(SANDBOX), SANDBOX)
    meet(store, TARGET)
    assert claim_result(store).claim is not None


def test_an_import_moves_no_episode_by_what_another_host_was_sent(store: Store) -> None:
    (episode,) = admit(store, 1)
    done = take_over(store, there(STAGING), TARGET.api)
    after = store.episodes.get(episode.id)
    assert after is not None
    assert (after.state, after.media_id) == (State.QUEUED, None)
    assert (done.imported, done.processing, done.unmet) == (1, 0, 0)  # type: ignore[attr-defined]
    (kept,) = store.claims.latest(9)
    assert kept.episode_id is None
    assert "show" in done.feeds  # type: ignore[attr-defined]


def test_where_all_signs_agree_a_claim_of_another_host_holds_and_does_not_skip() -> None:
    claim = there(STAGING)
    assert paid_by(KEYS, [claim], TARGET) == (claim, State.HELD)
    assert paid_by(KEYS, [there(TARGET.api)], TARGET) == (there(TARGET.api), State.SKIPPED)
    assert is_at(there(""), TARGET.api)


def claimed(world: World, api: str) -> tuple[Episode, Claim]:
    """Episode 1, claimed for a POST to `api`, which the journal knows."""
    world.feeds.publish(1)
    world.check()

    def intent(episode: Episode) -> Intent:
        sent = replace(episode, state=State.SUBMITTING, submitted_at=world.now, attempts=1)
        return Intent(sent, replace_api(world, api))

    result = world.store.claims.claim("inlet", world.now, world.policy, intent)
    assert result.episode is not None
    assert result.claim is not None
    world.context.journal.append_claim(result.claim)
    return result.episode, result.claim


def replace_api(world: World, api: str) -> Target:
    return Target("inlet", api, world.sources[0].podcast_id)


@pytest.mark.parametrize("elsewhere", [True, False])
def test_an_answer_of_another_api_that_the_journal_has_is_none_of_this_one(
    world: World, tmp_path: Path, elsewhere: bool
) -> None:
    world.context.journal = Journal([tmp_path / "claims"])
    api = "http://127.0.0.2:9" if elsewhere else world.context.apis["inlet"]
    episode, claim = claimed(world, api)
    world.context.journal.append_outcome(claim.token, Outcome.ACCEPTED, "m", world.now)
    compare(world.context)
    after = world.episode()
    expected = (State.UNKNOWN, None) if elsewhere else (State.PROCESSING, "m")
    assert (after.id, after.state, after.media_id) == (episode.id, *expected)
    if elsewhere:
        assert after.due_at is None, (
            "that API may be this one: whatever the policy, it is not paid again"
        )
        assert "as job m, and FEEDWATCH_API_URL is now another address" in (after.reason or "")


def test_an_import_says_what_cannot_be_polled_here(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world.context.journal = Journal([tmp_path / "claims"])
    target = replace_api(world, "http://127.0.0.2:9")
    world.context.journal.append_claim(claim_of("guid:guid-1", target=target, feed="show"))
    compare(world.context)
    (line,) = (text for text in caplog.messages if "FEEDWATCH_API_URL" in text)
    assert "submitted to another address than FEEDWATCH_API_URL: 1 claim" in line


def test_a_dry_run_says_what_the_import_will_do(world: World, tmp_path: Path) -> None:
    journal = Journal([tmp_path / "claims"])
    target = replace_api(world, "http://127.0.0.2:9")
    journal.append_claim(claim_of("guid:guid-1", target=target, feed="show"))
    here = Target("inlet", world.context.apis["inlet"], target.id)
    coming = next_import(world.store, journal, world.sources, world.context.apis)
    assert len(coming.missing) == 1
    assert world.store.imports.waiting([here], coming.missing, coming.feeds_of) == []


# Adopting


def unknown(world: World, api: str) -> tuple[Episode, Claim]:
    episode, claim = claimed(world, api)
    doubt = replace(episode, state=State.UNKNOWN, reason="no answer")
    saved = world.store.claims.settle(claim.token, Outcome.UNKNOWN, episode, doubt, world.now)
    assert saved is not None
    return saved, claim


def test_what_is_adopted_is_in_the_journal_at_once(world: World, tmp_path: Path) -> None:
    places = [tmp_path / "claims", tmp_path / "not there yet"]
    world.context.journal = Journal(places[:1])
    episode, claim = unknown(world, world.context.apis["inlet"])
    now = world.now
    proposal = decisions.adoption(world.store, world.context.plan, {}, episode.id, "m-1", now)
    assert decisions.carry_out(world.store, proposal, "cli:anna", now, places) == []
    (written,) = Journal(places).read()
    assert (written.token, written.outcome, written.media_id) == (
        *(claim.token, Outcome.ACCEPTED, "m-1"),
    )
    assert not places[1].exists(), "the daemon could not write what another user has made"


def test_what_somebody_else_has_changed_meanwhile_leaves_no_line(
    world: World, tmp_path: Path
) -> None:
    places = [tmp_path / "claims"]
    world.context.journal = Journal(places)
    episode, _ = unknown(world, world.context.apis["inlet"])
    now = world.now
    proposal = decisions.adoption(world.store, world.context.plan, {}, episode.id, "m-1", now)
    world.store.episodes.save(episode, replace(episode, reason="changed"), now)
    assert decisions.carry_out(world.store, proposal, "cli:anna", now, places) == [episode.id]
    (written,) = Journal(places).read()
    assert written.outcome is Outcome.OPEN


def test_a_submission_to_a_sandbox_is_not_adopted_as_a_job_of_the_live_api(world: World) -> None:
    episode, _ = unknown(world, STAGING)  # the other way round: the API here is the sandbox
    with pytest.raises(RequestError, match=f"submitted to {STAGING}"):
        decisions.adoption(
            world.store, world.context.plan, world.context.processors, episode.id, "m", world.now
        )
