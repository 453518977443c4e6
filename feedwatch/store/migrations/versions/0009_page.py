"""What the page needs: whose decision it was, how recent checks ended, and who has logged in."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and the table of sessions."""
    op.add_column("history", sa.Column("actor", sa.String(length=120)))
    op.add_column("feeds", sa.Column("recent_checks", sa.String(length=48)))
    op.create_table(
        "sessions",
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("actor", sa.String(length=120), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("token_hash", name="pk_sessions"),
    )


def downgrade() -> None:
    """Take them out again."""
    op.drop_table("sessions")
    op.drop_column("feeds", "recent_checks")
    op.drop_column("history", "actor")
