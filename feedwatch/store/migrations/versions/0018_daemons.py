"""Several daemons on one database: who they are, and which of them checks which feed.

Of the lease, on which server its term began.

The heartbeats are each daemon's own. Those that are there are forgotten: the next daemon writes its
own within seconds.
"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables, and the daemon to the heartbeats."""
    op.create_table(
        "daemons",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("host", sa.String(64), nullable=False),
        sa.Column("version", sa.String(32), nullable=False),
        sa.Column("config_mark", sa.String(64), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("clock_offset", sa.Float()),
        sa.PrimaryKeyConstraint("id", name="pk_daemons"),
    )
    op.create_table(
        "feed_leases",
        sa.Column("feed_id", sa.Integer(), nullable=False),
        sa.Column("holder", sa.String(64), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["feed_id"], ["feeds.id"], name="fk_feed_leases_feed_id"),
        sa.PrimaryKeyConstraint("feed_id", name="pk_feed_leases"),
    )
    op.add_column("leaders", sa.Column("server", sa.DateTime(timezone=True)))
    op.drop_table("heartbeats")
    op.create_table(
        "heartbeats",
        sa.Column("daemon", sa.String(64), nullable=False, server_default=""),
        sa.Column("duty", sa.String(32), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("daemon", "duty", name="pk_heartbeats"),
    )


def downgrade() -> None:
    """Take them out again."""
    op.drop_table("feed_leases")
    op.drop_table("daemons")
    with op.batch_alter_table("leaders") as table:
        table.drop_column("server")
    op.drop_table("heartbeats")
    op.create_table(
        "heartbeats",
        sa.Column("duty", sa.String(32), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("duty", name="pk_heartbeats"),
    )
