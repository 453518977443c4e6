"""A smaller database: keys and addresses once, and no index that is not needed.

SQLite reuses the room that becomes free, and gives it back to the disk at a VACUUM alone. All is
done by the database itself, row by row: there may be millions.
"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

# In the order of the primary key: nothing is sorted, and pages are written one by one.
COPY_KEYS = """
insert into identities_copied (feed_id, key, episode_id, learned_at)
select feed_id, key, episode_id, learned_at from identities order by feed_id, key
"""
# An address that is the enclosure's is empty: the column allows no null, and of a table that others
# refer to SQLite takes no such thing back.
SHORTEN = "update episodes set seen_url = '' where seen_url = enclosure_url"
LENGTHEN = "update episodes set seen_url = enclosure_url where seen_url = ''"


def upgrade() -> None:
    """Drop three indexes, and have SQLite keep the keys in their primary key alone.

    What could use that by `previous` goes by the feed as well; beside the one by title the feed is
    read anyway; and that by episode is as large as the keys themselves where those are the primary
    key. On PostgreSQL the addresses stay, as an empty one means the same: to write all rows anew
    takes twice their room, and the other daemons would wait for it.
    """
    op.drop_index("ix_history_previous_at", table_name="history")
    op.drop_index("ix_episodes_feed_id_title_key", table_name="episodes")
    op.drop_index("ix_identities_episode_id", table_name="identities")
    if op.get_bind().dialect.name == "sqlite":
        _copy_keys(with_rowid=False)
        op.execute(SHORTEN)


def downgrade() -> None:
    """Make them again."""
    op.execute(LENGTHEN)
    if op.get_bind().dialect.name == "sqlite":
        _copy_keys(with_rowid=True)
    op.create_index("ix_identities_episode_id", "identities", ["episode_id"])
    op.create_index("ix_episodes_feed_id_title_key", "episodes", ["feed_id", "title_key"])
    op.create_index("ix_history_previous_at", "history", ["previous", "at"])


def _copy_keys(*, with_rowid: bool) -> None:
    """Copy the keys into a table of another kind; of PostgreSQL's there is but one."""
    op.create_table(
        "identities_copied",
        sa.Column("feed_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(600), nullable=False),
        sa.Column("episode_id", sa.Integer(), nullable=False),
        sa.Column("learned_at", sa.DateTime(timezone=True)),
        sa.ForeignKeyConstraint(["episode_id"], ["episodes.id"], name="fk_identities_episode_id"),
        sa.ForeignKeyConstraint(["feed_id"], ["feeds.id"], name="fk_identities_feed_id"),
        sa.PrimaryKeyConstraint("feed_id", "key", name="pk_identities"),
        sqlite_with_rowid=with_rowid,
    )
    op.execute(COPY_KEYS)
    op.drop_table("identities")
    op.rename_table("identities_copied", "identities")
