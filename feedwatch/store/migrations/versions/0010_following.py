"""What waits follows its feed: since when that no longer has it; whether a document was damaged."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.add_column("episodes", sa.Column("missing_since", sa.DateTime(timezone=True)))
    op.add_column("feeds", sa.Column("repaired", sa.Boolean()))


def downgrade() -> None:
    """Take them out again."""
    op.drop_column("feeds", "repaired")
    op.drop_column("episodes", "missing_since")
