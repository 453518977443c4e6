"""Which database this is, and whether it lacks submissions that were made."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class DatabaseId:
    """Which database this is, and how many submissions were ever claimed from it."""

    id: str
    claims: int


def is_older(database: DatabaseId, mark: DatabaseId | None) -> bool:
    """Whether submissions were claimed that this database knows nothing of."""
    if mark is None or mark.claims == 0:
        return False
    return database.id != mark.id or database.claims < mark.claims
