"""Sessions of the page: who has logged in."""

from datetime import datetime

from sqlalchemy import Engine, delete, insert, select

from feedwatch.store.database import reading
from feedwatch.store.schema import sessions


class SessionStore:
    """Sessions, each by the hash of its token. Each public method is one transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def open(self, token_hash: str, actor: str, now: datetime, expires_at: datetime) -> None:
        """Begin a session, and forget those that have expired."""
        row = {"token_hash": token_hash, "actor": actor, "expires_at": expires_at}
        with self._engine.begin() as db:
            db.execute(delete(sessions).where(sessions.c.expires_at <= now))
            db.execute(insert(sessions).values(row))

    def actor(self, token_hash: str, now: datetime) -> str | None:
        """Whose session this is; None if there is none, or it has expired."""
        query = select(sessions.c.actor).where(
            sessions.c.token_hash == token_hash, sessions.c.expires_at > now
        )
        with reading(self._engine) as db:
            return db.scalars(query).one_or_none()

    def close(self, token_hash: str) -> None:
        """End a session."""
        with self._engine.begin() as db:
            db.execute(delete(sessions).where(sessions.c.token_hash == token_hash))
