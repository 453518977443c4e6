"""Pauses: since when, and by whom."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

TABLES = ("feeds", "gates")


def upgrade() -> None:
    """Add the columns."""
    for table in TABLES:
        op.add_column(table, sa.Column("paused_at", sa.DateTime(timezone=True)))
        op.add_column(table, sa.Column("paused_by", sa.String(120)))


def downgrade() -> None:
    """Take them out again."""
    for table in TABLES:
        op.drop_column(table, "paused_by")
        op.drop_column(table, "paused_at")
