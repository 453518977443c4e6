"""What waits follows its feed: since when the feed no longer has it."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.add_column("episodes", sa.Column("missing_since", sa.DateTime(timezone=True)))


def downgrade() -> None:
    """Take them out again."""
    op.drop_column("episodes", "missing_since")
