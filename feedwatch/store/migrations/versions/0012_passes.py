"""Passes: when `run --once` was run, how long it took, and how it ended."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "passes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seconds", sa.Float()),
        sa.Column("status", sa.Integer()),
        sa.PrimaryKeyConstraint("id", name="pk_passes"),
    )


def downgrade() -> None:
    """Take it out again."""
    op.drop_table("passes")
