"""Causes for programs, beside the reasons for people that began with them."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, and fill them by what the texts begin with."""
    op.add_column("episodes", sa.Column("cause", sa.String(length=32)))
    op.add_column("feeds", sa.Column("error_kind", sa.String(length=32)))
    op.execute(
        "UPDATE episodes SET cause = 'lost' "
        "WHERE state = 'failed' AND substr(reason, 1, 5) = 'lost:'"
    )
    op.execute("UPDATE feeds SET error_kind = 'gone' WHERE substr(error, 1, 5) = 'gone:'")


def downgrade() -> None:
    """Take them out again."""
    op.drop_column("feeds", "error_kind")
    op.drop_column("episodes", "cause")
