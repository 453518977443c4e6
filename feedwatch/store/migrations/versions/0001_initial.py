"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "feeds",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True)),
        sa.Column("etag", sa.Text()),
        sa.Column("last_modified", sa.Text()),
        sa.Column("full_at", sa.DateTime(timezone=True)),
        sa.Column("baseline_at", sa.DateTime(timezone=True)),
        sa.Column("checked_at", sa.DateTime(timezone=True)),
        sa.Column("success_at", sa.DateTime(timezone=True)),
        sa.Column("new_at", sa.DateTime(timezone=True)),
        sa.Column("shown", sa.Integer(), nullable=False),
        sa.Column("doubted_before", sa.DateTime(timezone=True)),
        sa.Column("media_types", sa.Text()),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_feeds"),
        sa.UniqueConstraint("name", name="uq_feeds_name"),
    )
    op.create_index("ix_feeds_due_at", "feeds", ["due_at"])
    op.create_table(
        "gates",
        sa.Column("processor", sa.String(length=32), nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("closed_until", sa.DateTime(timezone=True)),
        sa.Column("reason", sa.Text()),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("doubts", sa.Integer(), nullable=False),
        sa.Column("blocked", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("processor", name="pk_gates"),
    )
    op.create_table(
        "heartbeats",
        sa.Column("duty", sa.String(length=32), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("duty", name="pk_heartbeats"),
    )
    op.create_table(
        "imprint",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("claims", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_imprint"),
    )
    op.create_table(
        "episodes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("feed_id", sa.Integer(), nullable=False),
        sa.Column("guid", sa.Text()),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("enclosure_url", sa.Text(), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True)),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("feed_duration", sa.Integer()),
        sa.Column("title_key", sa.String(length=600), nullable=False),
        sa.Column("seen_url", sa.Text(), nullable=False),
        sa.Column("seen_published_at", sa.DateTime(timezone=True)),
        sa.Column("seen_duration", sa.Integer()),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True)),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("deferrals", sa.Integer(), nullable=False),
        sa.Column("podcast_id", sa.Text()),
        sa.Column("media_id", sa.Text()),
        sa.Column("remote_status", sa.Text()),
        sa.Column("remote_updated_at", sa.Text()),
        sa.Column("remote_created_at", sa.Text()),
        sa.Column("remote_stood", sa.Integer(), nullable=False),
        sa.Column("processed_url", sa.Text()),
        sa.Column("duration", sa.Float()),
        sa.Column("ad_removal_markers", sa.JSON(none_as_null=True)),
        sa.Column("failed_attempts", sa.Integer()),
        sa.Column("overdue", sa.Boolean(), nullable=False),
        sa.Column("submitted_at", sa.DateTime(timezone=True)),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["feed_id"], ["feeds.id"], name="fk_episodes_feed_id"),
        sa.PrimaryKeyConstraint("id", name="pk_episodes"),
    )
    op.create_index("ix_episodes_feed_id_state", "episodes", ["feed_id", "state"])
    op.create_index("ix_episodes_feed_id_title_key", "episodes", ["feed_id", "title_key"])
    op.create_index("ix_episodes_media_id", "episodes", ["media_id"])
    op.create_index("ix_episodes_state_due_at", "episodes", ["state", "due_at"])
    op.create_table(
        "history",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("episode_id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("previous", sa.String(length=16)),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.ForeignKeyConstraint(["episode_id"], ["episodes.id"], name="fk_history_episode_id"),
        sa.PrimaryKeyConstraint("id", name="pk_history"),
    )
    op.create_index("ix_history_episode_id", "history", ["episode_id"])
    op.create_index("ix_history_previous_at", "history", ["previous", "at"])
    op.create_table(
        "identities",
        sa.Column("feed_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=600), nullable=False),
        sa.Column("episode_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["episode_id"], ["episodes.id"], name="fk_identities_episode_id"),
        sa.ForeignKeyConstraint(["feed_id"], ["feeds.id"], name="fk_identities_feed_id"),
        sa.PrimaryKeyConstraint("feed_id", "key", name="pk_identities"),
    )
    op.create_index("ix_identities_episode_id", "identities", ["episode_id"])


def downgrade() -> None:
    """Drop them."""
    op.drop_index("ix_identities_episode_id", table_name="identities")
    op.drop_table("identities")
    op.drop_index("ix_history_previous_at", table_name="history")
    op.drop_index("ix_history_episode_id", table_name="history")
    op.drop_table("history")
    op.drop_index("ix_episodes_state_due_at", table_name="episodes")
    op.drop_index("ix_episodes_media_id", table_name="episodes")
    op.drop_index("ix_episodes_feed_id_title_key", table_name="episodes")
    op.drop_index("ix_episodes_feed_id_state", table_name="episodes")
    op.drop_table("episodes")
    op.drop_table("imprint")
    op.drop_table("heartbeats")
    op.drop_table("gates")
    op.drop_index("ix_feeds_due_at", table_name="feeds")
    op.drop_table("feeds")
