"""The journal: every claim in files outside the database, whatever happens to the files."""

import fcntl
import json
import multiprocessing
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Timer
from time import process_time
from uuid import uuid4

import pytest

from feedwatch.core.ledger import Claim, Outcome, Target
from feedwatch.core.settings import Policy
from feedwatch.store import journal
from feedwatch.store.journal import Journal, places
from feedwatch.store.store import Store
from tests.pace import slowness
from tests.support import LONG, one_in

NOW = datetime(2026, 11, 25, 10, tzinfo=UTC)


def claim(number: int, **values: object) -> Claim:
    plain = Claim(
        number=number,
        token=f"token-{number}",
        at=NOW + timedelta(minutes=number),
        target=Target("inlet", "https://api.example:443", "p"),
        feed="show",
        title="Käse & Brot",
        keys=(f"{number:032x}", "f" * 32),
        episode_id=number,
        posted_for=number,
    )
    return replace(plain, **values)  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "claims"


def test_a_claim_and_its_outcome_come_back_as_they_went_in(path: Path) -> None:
    written = Journal([path], "this database")
    assert written.append_claim(claim(1))
    assert written.append_claim(claim(2))
    written.append_outcome("token-1", Outcome.ACCEPTED, "m-1", NOW)
    settled = claim(1, outcome=Outcome.ACCEPTED, media_id="m-1", settled_at=NOW)
    assert Journal([path]).read() == [settled, claim(2)]
    assert json.loads(path.read_text().splitlines()[0])["db"] == "this database"


def test_accepted_wins_over_whatever_is_said_later(path: Path) -> None:
    written = Journal([path])
    written.append_claim(claim(1))
    written.append_outcome("token-1", Outcome.UNKNOWN, None, NOW)
    written.append_outcome("token-1", Outcome.ACCEPTED, "m-1", NOW)
    written.append_outcome("token-1", Outcome.UNKNOWN, None, NOW)
    (read,) = Journal([path]).read()
    assert (read.outcome, read.media_id) == (Outcome.ACCEPTED, "m-1")


def test_it_is_in_every_place_that_can_be_written_and_one_of_them_is_enough(
    tmp_path: Path,
) -> None:
    for name in ("etc", "cache", "lib"):
        (tmp_path / name).mkdir()
    paths = places(
        tmp_path / "etc" / "config.env",
        tmp_path / "lib" / "feedwatch.db",
        {"CACHE_DIRECTORY": str(tmp_path / "cache")},
    )
    written = Journal([*paths, tmp_path / "no such folder" / "claims"])
    assert written.append_claim(claim(1))
    assert list(written.problems) == [tmp_path / "no such folder" / "claims"]
    for kept in paths:
        assert Journal([kept]).read() == [claim(1)]


def test_the_places_together_have_what_each_of_them_lacks(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    Journal([one]).append_claim(claim(1))
    Journal([two]).append_claim(claim(2))
    Journal([two]).append_outcome("token-1", Outcome.REFUSED, None, NOW)
    together = Journal([one, two])
    assert [read.outcome for read in together.read()] == [Outcome.REFUSED, Outcome.OPEN]
    together.bring_up_to_date(together.read())
    assert Journal([one]).read() == Journal([two]).read() == together.read()
    before = one.read_bytes()
    together.bring_up_to_date(together.read())
    assert one.read_bytes() == before, "what a place has is not appended again"


def test_only_its_owner_may_read_it(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.touch(0o644)
    path.chmod(0o644)
    assert Journal([path]).append_claim(claim(1))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "others may read" in caplog.text
    fresh = path.with_name("fresh")
    Journal([fresh]).append_claim(claim(1))
    assert stat.S_IMODE(fresh.stat().st_mode) == 0o600


def test_no_address_and_no_guid_is_in_it_and_a_line_is_short(path: Path) -> None:
    Journal([path]).append_claim(
        claim(1, title="ä" * 120, keys=tuple(f"{n:032x}" for n in range(124)))
    )
    assert len(path.read_bytes()) <= 2000
    assert set(json.loads(path.read_text())) == {
        *("v", "db", "n", "t", "at", "term", "proc", "api", "target", "step", "feed", "ep"),
        *("title", "keys"),
    }


def test_what_was_not_waited_for_is_gone_after_a_power_cut_and_no_line_is_among_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system may drop whatever was not synced: the line, and the name of a new file."""
    kept: dict[int, int] = {}  # by inode: bytes on the disk, of a folder the names in it
    real = os.fsync

    def sync(file: int) -> None:
        real(file)
        status = os.fstat(file)
        is_folder = stat.S_ISDIR(status.st_mode)
        kept[status.st_ino] = len(os.listdir(file)) if is_folder else status.st_size

    monkeypatch.setattr(os, "fsync", sync)
    paths = [tmp_path / name / "claims" for name in ("one", "two")]
    for path in paths:
        path.parent.mkdir()
    written = Journal(paths)
    for append in (
        lambda: written.append_claim(claim(1)),
        lambda: written.append_outcome("token-1", Outcome.REFUSED, None, NOW),
        lambda: written.bring_up_to_date([claim(2)]),
    ):
        append()
        for path in paths:
            assert kept[path.parent.stat().st_ino] == 1
            assert kept[path.stat().st_ino] == path.stat().st_size


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_torn_last_line_is_none_and_the_next_one_is_whole(path: Path, cut: int) -> None:
    written = Journal([path])
    written.append_claim(claim(1))
    written.append_claim(claim(2))
    path.write_bytes(path.read_bytes()[:-cut])
    only_its_newline = cut == 1
    whole = [claim(1), claim(2)] if only_its_newline else [claim(1)]
    assert Journal([path]).read() == whole
    assert Journal([path]).append_claim(claim(3))
    assert Journal([path]).read() == [*whole, claim(3)]


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]\n", b"null\n", b'{"t": 1}\n', b"\xff\x00\n", b'{"out": "x"}\n']
)
def test_what_is_no_claim_is_passed_over(path: Path, damage: bytes) -> None:
    Journal([path]).append_claim(claim(1))
    path.write_bytes(damage + path.read_bytes())
    read = Journal([path]).read()
    assert read == ([claim(1)] if damage != b"{" else [])


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("elsewhere")])
def test_what_is_no_file_of_its_own_takes_no_line(path: Path, make: Callable[[Path], None]) -> None:
    make(path)
    one = Journal([path])
    assert one.append_claim(claim(1)), "no place was ever written: the POST may leave"
    assert list(one.problems) == [path]
    assert one.read() == []
    assert not path.with_name("elsewhere").exists()


def test_a_place_that_another_program_keeps_locked_stops_nothing(path: Path) -> None:
    path.touch(0o600)
    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        one = Journal([path, path.with_name("free")])
        assert one.append_claim(claim(1))
        assert one.problems == {path: "another process keeps it locked"}
    assert one.append_claim(claim(2))
    assert one.problems == {}


def test_once_a_place_was_written_no_post_leaves_without_a_line(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    one = Journal([folder / "claims"])
    assert one.append_claim(claim(1))
    (folder / "claims").unlink()
    folder.rmdir()
    assert not one.append_claim(claim(2))
    folder.mkdir()
    assert one.append_claim(claim(3))
    assert one.problems == {}


@pytest.mark.parametrize(
    "change",
    [
        lambda path: Journal([path]).append_claim(claim(9)),
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: (
            path.with_name("x").write_bytes(path.read_bytes()) and path.with_name("x").replace(path)
        ),
    ],
    ids=["written", "deleted", "emptied", "replaced"],
)
def test_what_another_process_does_to_it_is_noticed(
    path: Path, change: Callable[[Path], object]
) -> None:
    one = Journal([path])
    one.read()
    one.append_claim(claim(1))
    one.append_outcome("token-1", Outcome.REFUSED, None, NOW)
    assert not one.was_changed(), "our own lines are no surprise"
    change(path)
    assert one.was_changed()
    one.append_claim(claim(2))
    assert one.was_changed(), "our next line does not hide it"
    one.read()
    assert not one.was_changed()


def test_two_processes_tear_no_line_of_each_other(path: Path) -> None:
    def write(first: int) -> None:
        one = Journal([path])
        for number in range(first, first + 50):
            one.append_claim(claim(number))

    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=write, args=(first,)) for first in (0, 100)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [one.number for one in Journal([path]).read()] == [*range(50), *range(100, 150)]


def test_a_file_that_is_too_large_keeps_the_latest_claims_and_all_that_are_in_doubt(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "MOST_CLAIMS", 20)
    monkeypatch.setattr(journal, "KEPT_CLAIMS", 10)
    one = Journal([path])
    for number in range(1, 31):
        one.append_claim(claim(number))
        if number != 3:
            one.append_outcome(f"token-{number}", Outcome.ACCEPTED, f"m-{number}", NOW)
    everything = one.read()
    one.bring_up_to_date(everything)
    kept = one.read()
    assert [read.number for read in kept] == [3, *range(21, 31)]
    assert kept == [everything[2], *everything[20:]]
    assert not one.was_changed()
    one.bring_up_to_date(kept)
    assert one.read() == kept


@pytest.mark.slow
def test_ten_thousand_lines_are_read_in_a_fraction_of_a_second(path: Path) -> None:
    one = Journal([path])
    one.bring_up_to_date(
        [
            claim(n, outcome=Outcome.ACCEPTED, media_id=f"m-{n}", settled_at=NOW)
            for n in range(5_000)
        ]
    )
    times = []
    for _ in range(5):
        began = process_time()
        assert len(one.read()) == 5_000
        times.append((process_time() - began) / slowness())
    assert min(times) <= 0.3  # twice of what it takes: other processes share the caches


def test_a_file_that_cannot_be_compacted_stays_as_it_is(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "MOST_CLAIMS", 20)
    one = Journal([path])
    for number in range(1, 31):
        one.append_claim(claim(number))
    everything = one.read()
    path.with_name("claims.new").mkdir()  # it can't be written
    one.bring_up_to_date(everything)
    assert one.read() == everything


def test_a_claim_whose_number_is_no_number_is_passed_over(path: Path) -> None:
    one = Journal([path])
    one.append_claim(claim(1))
    line = json.loads(path.read_text()) | {"t": "another", "n": None}
    path.write_text(path.read_text() + json.dumps(line) + "\n")
    assert one.read() == [claim(1)]


def test_a_place_that_another_process_keeps_locked_counts_as_not_writable_until_it_is_let_go(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "LOCK_SECONDS", 0.05)
    written = Journal([path])
    assert written.append_claim(claim(1))
    with path.open("rb") as foreign, caplog.at_level("INFO"):
        fcntl.flock(foreign, fcntl.LOCK_EX)
        assert not written.append_claim(claim(2))
        assert written.problems == {path: "another process keeps it locked"}
        monkeypatch.setattr(journal, "LOCK_SECONDS", LONG)
        assert not written.append_claim(claim(3)), "it is waited for once, not at each claim"
        fcntl.flock(foreign, fcntl.LOCK_UN)
        assert written.append_claim(claim(4))
    assert caplog.messages == [
        f"journal: {path} cannot be written: another process keeps it locked",
        f"journal: {path} can be written again",
    ]


def test_a_lock_that_is_let_go_soon_is_waited_for(path: Path) -> None:
    path.touch()
    with path.open("rb") as foreign:
        fcntl.flock(foreign, fcntl.LOCK_EX)
        Timer(0.1, fcntl.flock, (foreign, fcntl.LOCK_UN)).start()
        assert Journal([path]).append_claim(claim(1))
        assert [one.token for one in Journal([path]).read()] == ["token-1"]


ODD: list[object] = [
    *(
        None,
        "x" * 300,
        True,
        -1,
        1.5,
        2**70,
        2**31,
        float("inf"),
        "",
        "\0",
        "x" * 300,
        "\ud800",
        "http://[",
        [],
        {},
    ),
    *([[]], ["\ud800"], "2026-11-25T10:00:00", "0001-01-01T00:00:00+14:00"),
]


@pytest.mark.parametrize("place", one_in(2, [1, 0]), ids=["outcome", "claim"])
def test_a_damaged_line_that_is_json_still_hides_no_other_one_and_stops_nothing(
    path: Path, tmp_path: Path, place: int
) -> None:
    written = Journal([path])
    written.append_claim(claim(1))
    written.append_outcome("token-1", Outcome.ACCEPTED, "m-1", NOW)
    written.append_claim(claim(2))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    store = Store(f"sqlite:///{tmp_path / 'f.db'}", processor="inlet", may_create=True)
    for name in lines[place].keys() - {"t"}:
        for odd in ODD:
            damaged = [line | ({name: odd} if line is lines[place] else {}) for line in lines]
            path.write_text("".join(json.dumps(line) + "\n" for line in damaged))
            read = Journal([path]).read()
            assert claim(2) in read
            assert place == 0 or len(read) == 2, "without its outcome a claim is in doubt"
            fresh = [replace(one, token=str(uuid4())) for one in read]
            store.imports.take_over(fresh, {}, NOW, Policy(), {"inlet": "https://api.example:443"})
    store.close()


def test_damage_is_warned_of_once_and_what_is_whole_is_not_written_again(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = Journal([path])
    one.append_claim(claim(1))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b"\0\0\n")
    before = path.read_bytes()
    for _ in range(2):
        assert one.read() == [claim(1)]
        one.bring_up_to_date([claim(1)])
    assert caplog.text.count("1 damaged line of") == 1
    assert path.read_bytes() == before
