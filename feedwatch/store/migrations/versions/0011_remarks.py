"""Remarks on feeds."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("feeds", sa.Column("remarks", sa.JSON()))


def downgrade() -> None:
    """Take it out again."""
    op.drop_column("feeds", "remarks")
