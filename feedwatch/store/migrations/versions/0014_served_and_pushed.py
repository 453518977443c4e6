"""What served feeds wait for, the processed file that was known before; subscriptions to hubs."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

revision = "0014"
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
HUB_COLUMNS: dict[str, TypeEngine[Any]] = {
    "hub": sa.Text(),
    "hub_topic": sa.Text(),
    "hub_scope": sa.Integer(),
}


def upgrade() -> None:
    """Add columns and table."""
    op.add_column("documents", sa.Column("unplaced_episodes", sa.JSON()))
    for name, kind in FILE_COLUMNS.items():
        op.add_column("processed_files", sa.Column(name, kind))
    for name, kind in HUB_COLUMNS.items():
        op.add_column("feeds", sa.Column(name, kind))
    op.create_table(
        "subscriptions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("feed_id", sa.Integer(), nullable=False),
        sa.Column("hub", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("scope", sa.Integer(), nullable=False),
        sa.Column("token", sa.String(length=32), nullable=False),
        sa.Column("secret", sa.String(length=64), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("pending", sa.String(length=16)),
        sa.Column("lease_until", sa.DateTime(timezone=True)),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("pushed_at", sa.DateTime(timezone=True)),
        sa.Column("pushes", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["feed_id"], ["feeds.id"], name="fk_subscriptions_feed_id"),
        sa.PrimaryKeyConstraint("id", name="pk_subscriptions"),
        sa.UniqueConstraint("token", name="uq_subscriptions_token"),
    )
    op.create_index("ix_subscriptions_feed_id", "subscriptions", ["feed_id"])


def downgrade() -> None:
    """Take them out again."""
    op.drop_table("subscriptions")
    for name in HUB_COLUMNS:
        op.drop_column("feeds", name)
    for name in FILE_COLUMNS:
        op.drop_column("processed_files", name)
    op.drop_column("documents", "unplaced_episodes")
