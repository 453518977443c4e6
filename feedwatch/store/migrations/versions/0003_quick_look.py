"""What the quick look remembers of a feed's last document; descriptions are read when needed."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table and the columns."""
    op.create_table(
        "digests",
        sa.Column("feed_id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["feed_id"], ["feeds.id"], name="fk_digests_feed_id"),
        sa.PrimaryKeyConstraint("feed_id", name="pk_digests"),
    )
    with op.batch_alter_table("feeds") as feeds:
        feeds.add_column(sa.Column("body_mark", sa.LargeBinary()))
        feeds.add_column(sa.Column("asked", sa.Integer(), nullable=False, server_default="0"))
        feeds.add_column(sa.Column("answered", sa.Integer(), nullable=False, server_default="0"))
    with op.batch_alter_table("episodes") as episodes:
        episodes.alter_column("description", existing_type=sa.Text(), nullable=True)
        episodes.create_index("ix_episodes_feed_id_published_at", ["feed_id", "published_at"])


def downgrade() -> None:
    """Drop them; a description that was never read becomes an empty one."""
    op.execute("UPDATE episodes SET description = '' WHERE description IS NULL")
    with op.batch_alter_table("episodes") as episodes:
        episodes.drop_index("ix_episodes_feed_id_published_at")
        episodes.alter_column("description", existing_type=sa.Text(), nullable=False)
    with op.batch_alter_table("feeds") as feeds:
        feeds.drop_column("answered")
        feeds.drop_column("asked")
        feeds.drop_column("body_mark")
    op.drop_table("digests")
