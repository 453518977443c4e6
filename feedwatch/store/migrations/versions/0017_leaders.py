"""The lease of a PostgreSQL database: which process is its daemon, and until when."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table and its one row: two first starts at once do not race for that."""
    leaders = op.create_table(
        "leaders",
        sa.Column("role", sa.String(32), nullable=False),
        sa.Column("holder", sa.String(64)),
        sa.Column("term", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("role", name="pk_leaders"),
    )
    nobodys = {"role": "leader", "term": 0, "until": datetime(2000, 1, 1, tzinfo=UTC)}
    op.bulk_insert(leaders, [nobodys])


def downgrade() -> None:
    """Take it out again."""
    op.drop_table("leaders")
