"""A database with all tables and nothing in them, to be copied."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path
from threading import Lock

from feedwatch.store import database

_once = Lock()


def empty_database() -> Path:
    """One as the migrations leave it: to run them takes longer than most tests.

    It has no id yet: each copy gets one of its own when it is first opened.
    """
    with _once:  # two threads of a test may be the first
        return _made()


@cache
def _made() -> Path:
    path = Path(tempfile.mkdtemp(prefix="feedwatch-tests-")) / "empty.db"
    atexit.register(shutil.rmtree, path.parent)
    path.touch(0o600)
    engine = database.connect(f"sqlite:///{path}")
    database.upgrade(engine)
    engine.dispose()
    return path
