"""Ledger: which database this is, and whether it lacks claims that were made."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class DatabaseId:
    """Which database this is, and how many claims were ever made in it."""

    id: str
    claims: int


def is_older(database: DatabaseId, journal: DatabaseId | None) -> bool:
    """Whether the journal has claims that the database knows nothing of."""
    if journal is None or journal.claims == 0:
        return False
    return database.id != journal.id or database.claims < journal.claims
