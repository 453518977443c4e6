"""Journal: every claim once more, in files outside the database, one JSON object a line.

An empty database looks like a first start and an old copy like an earlier day; in both, episodes
paid for since would be submitted again. So each claim, and each answer, is appended to every place
that may outlive the database: beside the config, in systemd's cache folder, beside the database.
A line has no URL, no guid and no key of the API in it; the identity keys are hashes.
"""

import errno
import json
import logging
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from feedwatch.core.ledger import PERHAPS_PAID, Claim, DatabaseId, Outcome
from feedwatch.core.printable import counted
from feedwatch.store.journal_lines import (
    Line,
    claim_line,
    claims_of,
    settlement_line,
    settlement_lines,
    whole_lines,
)
from feedwatch.store.lock import takes_lock

log = logging.getLogger(__name__)

MOST_CLAIMS = 20_000  # in a file; beyond that, or 16 MB, it is compacted
MOST_BYTES = 16_000_000
# Ours are held for milliseconds. Three places together are given up well before a POST's first byte
# must leave, 10 s after the commit of its claim, and long before a loop counts as hung.
LOCK_SECONDS = 2.0
KEPT_CLAIMS = 10_000  # the latest ones, and all that may be paid and have no media id


class Status(NamedTuple):
    """What shows that a file has been written to or replaced."""

    device: int
    inode: int
    size: int


class Journal:
    """The claims of one database, in as many of `paths` as can be written."""

    def __init__(self, paths: Iterable[Path], database_id: str = "") -> None:
        self._paths = tuple(paths)
        self._database_id = database_id
        self._seen: dict[Path, Status | None] = {}  # each place, as we have last read or left it
        self._damaged: dict[Path, int] = {}  # lines of each place, as we have warned of them
        self._failing: dict[Path, str] = {}  # places that did not take the last line, and why
        self._was_written = False  # at least one place took a line, so one is expected to

    @property
    def problems(self) -> dict[Path, str]:
        """The places that did not take the last line, and why."""
        return dict(self._failing)

    def append_claim(self, claim: Claim) -> bool:
        """Append a claim before its POST; it is on the disk when this returns.

        False if the POST must not leave: no place takes the line, and one did before.
        """
        return (
            self._append(self._paths, [claim_line(claim, self._database_id)])
            or not self._was_written
        )

    def append_outcome(
        self, token: str, outcome: Outcome, media_id: str | None, at: datetime
    ) -> None:
        """Append what came of a claim, as soon as it is known, before it is in the database."""
        self._append(self._paths, [settlement_line(token, outcome, media_id, at)])

    def read(self) -> list[Claim]:
        """The union of all places, by token, in the order of the claims' numbers."""
        lines = {}
        for path in self._paths:
            self._seen[path] = _status(path)
            lines[path], damaged = _lines(path)
            if damaged > self._damaged.get(path, 0):
                log.warning("journal: %s of %s passed over", counted(damaged, "damaged line"), path)
            self._damaged[path] = damaged
        return claims_of(chain.from_iterable(lines.values()))

    def was_changed(self) -> bool:
        """Whether another process has written to, replaced or removed a place since we read it."""
        return any(_status(path) != self._seen.get(path) for path in self._paths)

    def forget(self) -> None:
        """Let it count as changed until it is read again."""
        self._seen.clear()

    def bring_up_to_date(self, claims: Sequence[Claim]) -> None:
        """Append to each place what it lacks of `claims`, and compact a file that is too large."""
        for path in self._paths:
            have = {one.token: one for one in claims_of(_lines(path)[0])}
            lacking = [
                claim_line(one, self._database_id) for one in claims if one.token not in have
            ]
            lacking += settlement_lines(
                one for one in claims if one.token not in have or _tells_more(one, have[one.token])
            )
            self._append([path], lacking)
            status = _status(path)
            if status is not None and (len(have) > MOST_CLAIMS or status.size > MOST_BYTES):
                self._compact(path)
        if len(self._failing) == len(self._paths):
            log.warning(
                "the journal of claims cannot be written anywhere, so a lost or restored database "
                "would not be noticed; tried: %s",
                ", ".join(map(str, self._paths)) or "no place is known",
            )

    def _append(self, paths: Iterable[Path], lines: Sequence[str]) -> bool:
        """Append `lines` to each of `paths`; whether at least one of them took it."""
        taken = False
        for path in paths:
            try:
                # What was locked for so long is not waited for once more.
                with _locked(path, 0.0 if path in self._failing else LOCK_SECONDS) as file:
                    before = _status(file)
                    was_new = before is not None and before.size == 0 and not self._seen.get(path)
                    _write(file, lines)
                    # What another process has written since we read it is still to be noticed.
                    if was_new or before == self._seen.get(path):
                        self._seen[path] = _status(file)
                if was_new:
                    _sync_folder(path)
            except OSError as error:
                if path not in self._failing:
                    log.warning("journal: %s cannot be written: %s", path, error.strerror)
                self._failing[path] = error.strerror or type(error).__name__
                self._was_written |= error.errno == errno.EAGAIN  # what is locked takes lines
            else:
                taken = True
                if self._failing.pop(path, None) is not None:
                    log.info("journal: %s can be written again", path)
        self._was_written |= taken
        return taken

    def _compact(self, path: Path) -> None:
        """Keep the latest claims, and those that may be paid and have no media id."""
        fresh = path.with_name(f"{path.name}.new")
        with suppress(OSError), _locked(path, LOCK_SECONDS):
            claims = claims_of(_lines(path)[0])
            open_ended = [one for one in claims[:-KEPT_CLAIMS] if one.outcome in PERHAPS_PAID]
            kept = [one for one in open_ended if one.media_id is None] + claims[-KEPT_CLAIMS:]
            fresh.unlink(missing_ok=True)
            lines = [claim_line(one, self._database_id) for one in kept] + settlement_lines(kept)
            if Journal([fresh])._append([fresh], lines):  # noqa: SLF001
                fresh.replace(path)
                _sync_folder(path)
                self._seen[path] = _status(path)


def places(
    config: Path | None, database: Path | None, environ: Mapping[str, str], name: str = "claims"
) -> list[Path]:
    """Where the journal may be; a place that can't be written does no harm.

    With the name "marker": where feedwatch 0.1 had its marker, which only counted claims.
    """
    found = []
    if config is not None:
        found.append(config.resolve().with_name(f"{config.name}.{name}"))
    if environ.get("CACHE_DIRECTORY"):
        found.append(Path(environ["CACHE_DIRECTORY"], name))
    if database is not None:
        found.append(database.with_name(f"{database.name}.{name}"))
    return found


def existing_journal(places: Iterable[Path]) -> Journal:
    """The journal in those places that are there already, for who is not the daemon.

    A file that another user made, such as root by a verb, could not be written by the daemon.
    """
    return Journal(path for path in places if _status(path) is not None)


def problem_of(place: Path) -> str | None:
    """Why this user cannot write the journal at `place`; None if it can."""
    try:
        if not stat.S_ISREG(place.lstat().st_mode):
            return "it is no regular file"
        needed = place
    except FileNotFoundError:
        needed = place.parent
    except OSError as error:
        return error.strerror
    return None if os.access(needed, os.W_OK) else f"this user may not write {needed}"


def read_markers(paths: Iterable[Path]) -> DatabaseId | None:
    """What the marker of feedwatch 0.1 with the most claims says; None if there is none."""
    found = []
    for path in paths:
        with suppress(OSError, ValueError, KeyError, TypeError):
            content = json.loads(path.read_text(encoding="utf-8"))
            found.append(DatabaseId(id=str(content["database"]), claims=int(content["claims"])))
    return max(found, key=lambda one: one.claims, default=None)


def _tells_more(claim: Claim, than: Claim) -> bool:
    """Whether a claim has another outcome than a place has of it, or another job."""
    is_another = claim.media_id is not None and claim.media_id != than.media_id
    return claim.outcome is not than.outcome or is_another


def _lines(path: Path) -> tuple[list[Line], int]:
    """The whole lines of a place, and how many are damaged."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(path, flags), "rb") as file:
            return whole_lines(file.read())
    except OSError:
        return [], 0


def _status(file: Path | int) -> Status | None:
    """A file's status; None if there is none, or none that can be read."""
    try:
        found = os.fstat(file) if isinstance(file, int) else file.stat()
    except OSError:
        return None
    return Status(found.st_dev, found.st_ino, found.st_size)


@contextmanager
def _locked(path: Path, patience: float) -> Iterator[int]:
    """The file of a place, made if missing, open to append and locked against other processes.

    patience: seconds for which a lock of another process is waited for. Raises `OSError` then.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    while True:
        file = os.open(path, flags, 0o600)
        try:
            mode = os.fstat(file).st_mode
            if not stat.S_ISREG(mode):
                raise OSError(errno.EINVAL, "it is no regular file")
            if stat.S_IMODE(mode) & 0o077:
                log.warning("journal: others may read %s; its mode becomes 0600", path)
                os.fchmod(file, 0o600)
            if not takes_lock(file, patience):
                raise OSError(errno.EAGAIN, "another process keeps it locked")
            # Another process may have compacted the file while this one waited for the lock.
            if _status(file) == _status(path):
                yield file
                return
        finally:
            os.close(file)


def _write(file: int, lines: Sequence[str]) -> None:
    """Append `lines` by one write, after closing a torn last line, and wait for the disk."""
    if not lines:
        return
    size = os.fstat(file).st_size
    torn = b"\n" if size and os.pread(file, 1, size - 1) != b"\n" else b""
    content = torn + "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")
    if os.write(file, content) != len(content):
        raise OSError(errno.ENOSPC, "it took only a part of a line; is the disk full?")
    os.fsync(file)


def _sync_folder(path: Path) -> None:
    """Have the name of a new file on the disk."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
