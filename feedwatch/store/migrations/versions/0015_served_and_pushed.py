"""What served feeds wait for, and the processed file that was known before."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

revision = "0015"
down_revision = "0013"
branch_labels = None
depends_on = None

FILE_COLUMNS: dict[str, TypeEngine[Any]] = {
    "duration": sa.Float(),
    "earlier_url": sa.Text(),
    "earlier_length": sa.BigInteger(),
    "earlier_type": sa.String(length=100),
    "earlier_duration": sa.Float(),
}


def upgrade() -> None:
    """Add the columns."""
    op.add_column("documents", sa.Column("unplaced_episodes", sa.JSON()))
    for name, kind in FILE_COLUMNS.items():
        op.add_column("processed_files", sa.Column(name, kind))


def downgrade() -> None:
    """Take them out again."""
    for name in FILE_COLUMNS:
        op.drop_column("processed_files", name)
    op.drop_column("documents", "unplaced_episodes")
