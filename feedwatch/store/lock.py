"""One daemon for one database: a lock that ends with the process that holds it."""

import fcntl
import os
import time
from pathlib import Path

from feedwatch.store.errors import StoreError


class FileLock:
    """An exclusive lock on `path`, which is made if need be and left behind: it is only a place."""

    def __init__(self, path: Path) -> None:
        """Take it at once. Raises `StoreError` if another process has it."""
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(
                f"the lock {path} cannot be opened: {error.strerror}; see that the folder of "
                "FEEDWATCH_DATABASE_URL exists and that this user may write in it"
            ) from error
        if not _taken(self._file, fcntl.LOCK_EX):
            holder = os.read(self._file, 20).decode("ascii", "replace").strip() or "unknown"
            os.close(self._file)
            raise StoreError(
                f"another feedwatch (process {holder}) runs on this database and holds {path}; "
                "stop it first, or let it do the work"
            )
        os.ftruncate(self._file, 0)
        os.write(self._file, str(os.getpid()).encode("ascii"))

    def release(self) -> None:
        """Give it back."""
        os.close(self._file)


def is_locked(path: Path) -> bool | None:
    """Whether a process has the lock; None if that can't be seen."""
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


def _taken(file: int, how: int) -> bool:
    """Try for a second: `is_locked` holds the lock for a moment, too."""
    until = time.monotonic() + 1
    while True:
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            time.sleep(0.05)
        else:
            return True
