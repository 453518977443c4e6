"""File lock: one daemon for one database, released when the process that holds it ends."""

import fcntl
import os
import time
from pathlib import Path

from feedwatch.store.errors import StoreError


class FileLock:
    """An exclusive lock on a file, which is made if missing and never deleted."""

    def __init__(self, path: Path) -> None:
        """Lock `path` within a second. Raises `StoreError` if another process holds the lock."""
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(
                f"the lock {path} cannot be opened: {error.strerror}; see that the folder of "
                "FEEDWATCH_DATABASE_URL exists and that this user may write in it"
            ) from error
        if not _locks_within_a_second(self._file):
            holder = os.read(self._file, 20).decode("ascii", "replace").strip() or "unknown"
            os.close(self._file)
            raise StoreError(
                f"another feedwatch (process {holder}) runs on this database and holds {path}; "
                "stop it first, or let it do the work"
            )
        os.ftruncate(self._file, 0)
        os.write(self._file, str(os.getpid()).encode("ascii"))

    def release(self) -> None:
        """Unlock the file."""
        os.close(self._file)


def is_locked(path: Path) -> bool | None:
    """Whether a process holds the lock; None if this user may not open the file."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def _locks_within_a_second(file: int) -> bool:
    """Whether the lock could be had; it is tried again because `is_locked` holds it briefly."""
    until = time.monotonic() + 1
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            time.sleep(0.05)
        else:
            return True
