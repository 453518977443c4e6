"""What served feeds need: the last good documents, and what is known of processed files."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "documents",
        sa.Column("feed_id", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary()),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("problem", sa.Text()),
        sa.Column("unplaced", sa.Integer()),
        sa.ForeignKeyConstraint(["feed_id"], ["feeds.id"], name="fk_documents_feed_id"),
        sa.PrimaryKeyConstraint("feed_id", name="pk_documents"),
    )
    op.create_table(
        "processed_files",
        sa.Column("episode_id", sa.Integer(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("length", sa.BigInteger()),
        sa.Column("type", sa.String(length=100)),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True)),
        sa.ForeignKeyConstraint(
            ["episode_id"], ["episodes.id"], name="fk_processed_files_episode_id"
        ),
        sa.PrimaryKeyConstraint("episode_id", name="pk_processed_files"),
    )


def downgrade() -> None:
    """Take them out again."""
    op.drop_table("processed_files")
    op.drop_table("documents")
