"""Callbacks at the public side: they make a poll due, and whatever they are, nothing else."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from sqlalchemy import update

from feedwatch.core.episode import State
from feedwatch.store.claim_rows import insert_claims
from feedwatch.store.schema import episodes
from feedwatch.watcher import callbacks as callbacks_module
from feedwatch.watcher.callbacks import Callbacks
from feedwatch.web.public import public_application
from feedwatch.web.public_side import PublicSide
from tests.world import HookedJournal, World, world

URL = "https://feeds.example.org/x/"


@pytest.fixture
def one(tmp_path: Path) -> Iterator[World]:
    """A world with a job that is polled in half a minute."""
    with world(tmp_path / "feedwatch.db") as one:
        one.feeds.publish(1)
        one.check()
        one.submit()
        assert one.states() == {"guid-1": State.PROCESSING}
        yield one


def token_of(one: World) -> str:
    claim = one.store.claims.latest_of(one.episode().id)
    assert claim is not None
    return claim.token


def heard_by(one: World) -> tuple[Callbacks, FlaskClient]:
    side = PublicSide()
    side.callbacks = Callbacks(URL)
    side.callbacks.begin(one.store, lambda: one.now)
    return side.callbacks, public_application(side).test_client()


def is_due(one: World) -> bool:
    due_at = one.episode().due_at
    return due_at is not None and due_at <= one.now


def test_a_callback_makes_the_poll_due_and_moves_nothing(one: World) -> None:
    _, public = heard_by(one)
    assert not is_due(one)
    answer = public.post(f"/callbacks/inlet/{token_of(one)}", json={"status": "Failed"})
    assert (answer.status_code, answer.data) == (204, b"")
    assert is_due(one)
    assert one.states() == {"guid-1": State.PROCESSING}
    one.poll()
    assert one.states() == {"guid-1": State.READY}


def test_a_job_of_before_the_start_may_call_back_and_a_new_one_before_its_answer(
    one: World,
) -> None:
    callbacks, public = heard_by(one)
    assert public.post(f"/callbacks/inlet/{token_of(one)}").status_code == 204
    assert public.post("/callbacks/inlet/new").status_code == 404
    assert callbacks.address("inlet", "new") == "https://feeds.example.org/x/callbacks/inlet/new"
    assert public.post("/callbacks/inlet/new").status_code == 204


def test_one_that_comes_before_the_answer_is_recorded_changes_nothing_and_loses_nothing(
    tmp_path: Path,
) -> None:
    with world(tmp_path / "feedwatch.db") as one:
        callbacks, public = heard_by(one)
        states = []

        def calls() -> None:
            """Between the claim and its POST; the API may, too, before its answer is recorded."""
            callbacks.address("inlet", token_of(one))
            before = one.episode()
            assert public.post(f"/callbacks/inlet/{token_of(one)}").status_code == 204
            assert one.episode() == before
            states.append(before.state)

        one.context.journal = HookedJournal(calls)
        one.feeds.publish(1)
        one.check()
        one.submit()
        assert (states, one.states()) == ([State.SUBMITTING], {"guid-1": State.PROCESSING})
        assert one.episode().due_at == one.now + one.policy.poll_interval
        one.later(minutes=1)
        one.poll()
        assert one.states() == {"guid-1": State.READY}
        assert len(one.sandbox.submissions) == 1


def test_a_forged_callback_is_404_and_asks_no_database(one: World) -> None:
    callbacks, public = heard_by(one)
    del callbacks._store
    for path in ("inlet/wrong", f"mediaapis/{token_of(one)}", "inlet/", "", "inlet/a/b"):
        assert public.post(f"/callbacks/{path}").status_code == 404
    assert not is_due(one)


def test_only_a_post_of_bounded_size_is_a_callback(one: World) -> None:
    _, public = heard_by(one)
    path = f"/callbacks/inlet/{token_of(one)}"
    assert public.get(path).status_code == 405
    assert public.put(path).status_code == 405
    assert public.post(path, data=b"x" * 65_537).status_code == 413
    assert not is_due(one)
    assert public.post(path, data=b"x" * 65_536).status_code == 204


def test_a_doubled_callback_has_one_effect_in_ten_seconds(
    one: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, public = heard_by(one)
    path = f"/callbacks/inlet/{token_of(one)}"
    public.post(path)
    before = one.episode()
    assert before.due_at == one.now
    with monkeypatch.context() as patch:
        patch.setattr(one.store.episodes, "hasten", None)  # it would be called
        assert public.post(path).status_code == 204
    monkeypatch.setattr(callbacks_module, "SECONDS_APART", 0.0)
    called: list[str] = []
    monkeypatch.setattr(one.store.episodes, "hasten", lambda token, _now: called.append(token))
    assert public.post(path).status_code == 204
    assert called == [token_of(one)]


def test_a_late_callback_changes_nothing(one: World) -> None:
    callbacks, public = heard_by(one)
    token = token_of(one)
    one.later(minutes=1)
    one.poll()
    ready = one.episode()
    assert ready.state is State.READY
    assert public.post(f"/callbacks/inlet/{token}").status_code == 204
    assert one.episode() == ready
    assert callbacks.hear("inlet", token)


def test_an_earlier_claims_callback_does_not_hasten_a_later_job(one: World) -> None:
    claim = one.store.claims.of(one.episode())
    assert claim is not None
    with one.store.episodes._engine.begin() as db:
        insert_claims(db, [replace(claim, number=claim.number + 1, token="later")])
        db.execute(update(episodes).values(claim=claim.number + 1))
    for token in (claim.token, "of nobody"):
        one.store.episodes.hasten(token, one.now)
        assert not is_due(one)
    one.store.episodes.hasten("later", one.now)
    assert is_due(one)


def test_of_many_tokens_the_oldest_are_forgotten(
    one: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    callbacks, _ = heard_by(one)
    monkeypatch.setattr(callbacks_module, "MOST_KEPT", 2)
    for token in ("a", "b", "c"):
        callbacks.address("inlet", token)
    assert [callbacks.hear("inlet", token) for token in ("a", "b", "c")] == [False, True, True]


def test_without_a_public_address_nobody_is_heard() -> None:
    public = public_application(PublicSide()).test_client()
    assert public.post("/callbacks/inlet/token").status_code == 404
