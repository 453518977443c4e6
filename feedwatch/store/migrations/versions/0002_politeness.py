"""What publishers ask for, where feeds have moved, and when they were last heard of."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, all empty, and the table of addresses left."""
    op.add_column("feeds", sa.Column("hinted", sa.Integer()))
    op.add_column("feeds", sa.Column("fresh", sa.Integer()))
    op.add_column("feeds", sa.Column("skip_hours", sa.Integer()))
    op.add_column("feeds", sa.Column("skip_days", sa.Integer()))
    op.add_column("feeds", sa.Column("moved_to", sa.Text()))
    op.add_column("feeds", sa.Column("moved_since", sa.DateTime(timezone=True)))
    op.add_column("feeds", sa.Column("moved_seen", sa.Integer()))
    op.add_column("feeds", sa.Column("address", sa.Text()))
    op.add_column("feeds", sa.Column("address_reach", sa.Integer()))
    op.add_column("feeds", sa.Column("expected_by", sa.DateTime(timezone=True)))
    op.add_column("feeds", sa.Column("silent_since", sa.DateTime(timezone=True)))
    op.create_table(
        "departures",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("feed_id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["feed_id"], ["feeds.id"], name="fk_departures_feed_id"),
        sa.PrimaryKeyConstraint("id", name="pk_departures"),
    )
    op.create_index("ix_departures_feed_id", "departures", ["feed_id"])


def downgrade() -> None:
    """Take them out again."""
    op.drop_index("ix_departures_feed_id", table_name="departures")
    op.drop_table("departures")
    for name in (
        "silent_since",
        "expected_by",
        "address_reach",
        "address",
        "moved_seen",
        "moved_since",
        "moved_to",
        "skip_days",
        "skip_hours",
        "fresh",
        "hinted",
    ):
        op.drop_column("feeds", name)
