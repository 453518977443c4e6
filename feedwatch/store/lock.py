"""One daemon for one database: a lock that ends with the process that holds it."""

import fcntl
import os
from pathlib import Path

from feedwatch.store.errors import StoreError


class FileLock:
    """An exclusive lock on `path`, which is made if need be and left behind: it is only a place."""

    def __init__(self, path: Path) -> None:
        """Take it at once. Raises `StoreError` if another process has it."""
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"the lock {path} cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._file, 20).decode("ascii", "replace").strip() or "unknown"
            os.close(self._file)
            raise StoreError(
                f"another feedwatch (process {holder}) runs on this database and holds {path}; "
                "stop it first, or let it do the work"
            ) from None
        os.ftruncate(self._file, 0)
        os.write(self._file, str(os.getpid()).encode("ascii"))

    def release(self) -> None:
        """Give it back."""
        os.close(self._file)
