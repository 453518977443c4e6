"""Claims as rows of the ledger: how they are added and read, within a transaction."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, Select, insert, select, update

from feedwatch.core.ledger import Claim, Outcome, Target
from feedwatch.core.pipeline import Step
from feedwatch.store.schema import claim_keys, claims, imprint
from feedwatch.store.sql import chunks, columns_of

OF_TARGET = ("processor", "api", "target")
CLAIM_COLUMNS = tuple(column.key for column in claims.columns if column.key not in OF_TARGET)


def next_number(db: Connection) -> int:
    """The number of the next claim. The row is locked, so that two processors get two numbers."""
    counted = update(imprint).values(claims=imprint.c.claims + 1).returning(imprint.c.claims)
    number: int = db.scalars(counted).one()
    return number


def insert_claims(db: Connection, new: Sequence[Claim]) -> None:
    """Add claims and their keys to the ledger."""
    rows, keys = [], []
    for claim in new:
        target = claim.target
        to = {"processor": target.processor, "target": target.id}
        columns = {name: getattr(claim, name) for name in CLAIM_COLUMNS}
        rows.append(columns | to | {"api": target.api})
        own = dict.fromkeys(claim.keys)
        keys += [to | {"number": claim.number, "key": key} for key in own]
    db.execute(insert(claims), rows)
    if keys:
        db.execute(insert(claim_keys), keys)


def select_claims() -> Select[Any]:
    """Claims, by their numbers: for `fetch_claims`."""
    return select(*columns_of(claims)).order_by(claims.c.number)


def fetch_claims(db: Connection, query: Select[Any]) -> list[Claim]:
    """The claims of a query that was made from `select_claims`, with their keys."""
    rows = list(db.execute(query).mappings())
    keys: dict[int, list[str]] = {row["number"]: [] for row in rows}
    for chunk in chunks(keys):
        of_these = select(claim_keys.c.number, claim_keys.c.key).where(
            claim_keys.c.number.in_(chunk)
        )
        for number, key in db.execute(of_these):
            keys[number].append(key)
    return [_claim(keys=tuple(keys[row["number"]]), **row) for row in rows]


def latest_claims(db: Connection, most: int) -> list[Claim]:
    """The latest claims, with their keys, the oldest of them first."""
    newest = select_claims().order_by(None).order_by(claims.c.number.desc()).limit(most)
    return fetch_claims(db, newest)[::-1]


def by_token(db: Connection, tokens: Collection[str]) -> dict[str, Claim]:
    """The claims that have these tokens, without their keys."""
    return {
        row["token"]: _claim(keys=(), **row)
        for chunk in chunks(tokens)
        for row in db.execute(
            select(*columns_of(claims)).where(claims.c.token.in_(chunk))
        ).mappings()
    }


def _claim(
    *, processor: str, api: str, target: str, step: str, outcome: str, **values: Any
) -> Claim:
    """The claim of a row and its keys."""
    whole = Target(processor, api, target)
    return Claim(target=whole, step=Step(step), outcome=Outcome(outcome), **values)
