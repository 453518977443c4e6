"""A smaller database.

SQLite reuses the room that becomes free, and gives it back to the disk at a VACUUM alone.
"""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Drop two indexes: no query used the one, and beside the other the feed is read anyway."""
    op.drop_index("ix_history_previous_at", table_name="history")
    op.drop_index("ix_episodes_feed_id_title_key", table_name="episodes")


def downgrade() -> None:
    """Make them again."""
    op.create_index("ix_episodes_feed_id_title_key", "episodes", ["feed_id", "title_key"])
    op.create_index("ix_history_previous_at", "history", ["previous", "at"])
