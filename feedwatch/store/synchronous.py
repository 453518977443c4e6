"""psycopg's connection, with an error where a commit has not reached the synchronous standby.

The wait for it can be cancelled, by `pg_cancel_backend` for one. Then PostgreSQL has committed on
the primary alone, and says so in a warning only: a failover would lose that commit. A POST must not
follow it. What was written stays, so a claim without its POST ends in doubt, which is the safe end.
"""

from typing import Any

import psycopg
from psycopg.errors import Diagnostic


class NotReplicatedError(psycopg.OperationalError):
    """A commit that may be on the primary alone."""

    sqlstate = "01000"  # of the warning


class SynchronousConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection whose `commit` raises `NotReplicatedError` where the server warns."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._warning: str | None = None
        self.add_notice_handler(self._note)

    def commit(self) -> None:
        """Commit, and have it on the standbys that the server is set to wait for."""
        self._warning = None
        super().commit()
        if self._warning is not None:
            raise NotReplicatedError(self._warning)

    def _note(self, notice: Diagnostic) -> None:
        # What a handler raises psycopg logs only. A commit is warned of for nothing else.
        if notice.severity_nonlocalized == "WARNING":
            self._warning = notice.message_primary or "a warning"
