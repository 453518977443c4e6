"""The ledger of claims, in place of a count of them."""

from datetime import UTC, datetime
from uuid import NAMESPACE_OID, UUID, uuid5

import sqlalchemy as sa
from alembic import op

from feedwatch.core.identity import Key
from feedwatch.core.ledger import TITLE_LENGTH, key_hash

revision = "0007"
down_revision = "0006"  # which writes the keys in the form that is hashed here
branch_labels = None
depends_on = None

BATCH = 1000  # rows in one statement
OUTCOMES = {  # by the state of an episode that was submitted at some time
    "submitting": "open",
    "unknown": "unknown",
    "processing": "accepted",
    "ready": "accepted",
    "skipped": "unknown",  # while it was in doubt
}


def upgrade() -> None:
    """Make the tables, and give each episode that was ever submitted its claim."""
    moment = sa.DateTime(timezone=True)
    op.add_column("episodes", sa.Column("cleared_claim", sa.BigInteger()))
    op.add_column("feeds", sa.Column("doubted_at", moment))
    op.add_column("feeds", sa.Column("version", sa.Integer(), nullable=False, server_default="0"))
    claims = op.create_table(
        "claims",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("token", sa.String(36), nullable=False),
        sa.Column("at", moment, nullable=False),
        sa.Column("term", sa.BigInteger(), nullable=False),
        sa.Column("processor", sa.String(32), nullable=False),
        sa.Column("api", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("step", sa.String(16), nullable=False),
        sa.Column("feed", sa.String(255), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column(
            "episode_id",
            sa.Integer(),
            sa.ForeignKey("episodes.id", name="fk_claims_episode_id"),
        ),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("sent", sa.Boolean(), nullable=False),
        sa.Column("media_id", sa.Text()),
        sa.Column("settled_at", moment),
        sa.PrimaryKeyConstraint("number", name="pk_claims"),
        sa.UniqueConstraint("token", name="uq_claims_token"),
    )
    op.create_index("ix_claims_at", "claims", ["at"])
    op.create_index("ix_claims_episode_id", "claims", ["episode_id"])
    claim_keys = op.create_table(
        "claim_keys",
        sa.Column("processor", sa.String(32)),
        sa.Column("target", sa.Text()),
        sa.Column("key", sa.String(32)),
        sa.Column(
            "number",
            sa.BigInteger(),
            sa.ForeignKey("claims.number", name="fk_claim_keys_number"),
        ),
        sa.PrimaryKeyConstraint("processor", "target", "key", "number", name="pk_claim_keys"),
    )
    op.create_index("ix_claim_keys_number", "claim_keys", ["number"])
    _fill(op.get_bind(), claims, claim_keys)


def _fill(db: sa.Connection, claims: sa.Table, claim_keys: sa.Table) -> None:
    """Claim in the name of feedwatch 0.1.

    Tokens follow from the database's id, the episode and the moment, so that an old copy which is
    migrated once more gives the same ones, and the journal knows them.
    """
    imprint = db.execute(sa.text("SELECT id, claims FROM imprint")).one_or_none()
    if imprint is None:
        return
    moment = sa.DateTime(timezone=True)
    query = sa.text(
        "SELECT e.id, e.state, e.title, e.podcast_id, e.media_id, e.submitted_at, f.name AS feed "
        "FROM episodes e JOIN feeds f ON f.id = e.feed_id "
        "WHERE e.submitted_at IS NOT NULL ORDER BY e.submitted_at, e.id"
    ).columns(submitted_at=moment)
    rows, number_of = [], {}
    for number, row in enumerate(db.execute(query), 1):
        at = _utc(row.submitted_at)
        # A failed episode without a media id was refused; one with it was paid for.
        failed = "accepted" if row.media_id else "refused"
        number_of[row.id] = number, row.podcast_id or ""
        rows.append(
            {
                "number": number,
                "token": str(uuid5(_namespace(imprint.id), f"episode:{row.id}:{at.isoformat()}")),
                "at": at,
                "term": 0,
                "processor": "inlet",
                "api": "",  # feedwatch 0.1 did not keep it
                "target": row.podcast_id or "",
                "step": "ads",
                "feed": row.feed,
                "title": row.title[:TITLE_LENGTH],
                "episode_id": row.id,
                "outcome": OUTCOMES.get(row.state, failed),
                "sent": True,
                "media_id": row.media_id,
                "settled_at": None if row.state == "submitting" else at,
            }
        )
    keys = [
        {
            "processor": "inlet",
            "target": number_of[row.episode_id][1],
            "key": key_hash(Key.parse(row.key)),
            "number": number_of[row.episode_id][0],
        }
        for row in db.execute(sa.text("SELECT episode_id, key FROM identities"))
        if row.episode_id in number_of
    ]
    for table, values in ((claims, rows), (claim_keys, keys)):
        for start in range(0, len(values), BATCH):
            db.execute(sa.insert(table), values[start : start + BATCH])
    last = max(imprint.claims, len(rows))
    db.execute(sa.text("UPDATE imprint SET claims = :last"), {"last": last})


def _namespace(database: str) -> UUID:
    try:
        return UUID(database)
    except ValueError:
        return uuid5(NAMESPACE_OID, database)


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC) if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def downgrade() -> None:
    """Take them out again; the count in `imprint` goes on."""
    op.drop_table("claim_keys")
    op.drop_table("claims")
    op.drop_column("feeds", "version")
    op.drop_column("feeds", "doubted_at")
    op.drop_column("episodes", "cleared_claim")
