"""What the API's answers prove: odd ones, a missing podcast, since when a job stands."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.add_column("gates", sa.Column("odd_episode", sa.Integer()))
    odd_answers = sa.Column("odd_answers", sa.Integer(), nullable=False, server_default="0")
    op.add_column("gates", odd_answers)
    op.add_column("episodes", sa.Column("remote_since", sa.DateTime(timezone=True)))
    op.add_column("feeds", sa.Column("missing_podcast", sa.Text()))


def downgrade() -> None:
    """Take them out again."""
    op.drop_column("feeds", "missing_podcast")
    op.drop_column("episodes", "remote_since")
    op.drop_column("gates", "odd_answers")
    op.drop_column("gates", "odd_episode")
