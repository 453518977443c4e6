"""What waits follows its feed: since when that no longer has it; whether a document was damaged."""

import re

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

episodes = sa.table(
    "episodes",
    sa.column("id", sa.Integer),
    sa.column("state", sa.String),
    sa.column("reason", sa.Text),
    sa.column("cause", sa.String),
    sa.column("seen_duration", sa.Integer),
    sa.column("filter_fact", sa.Text),
)


def upgrade() -> None:
    """Add the columns."""
    op.add_column("episodes", sa.Column("missing_since", sa.DateTime(timezone=True)))
    op.add_column("episodes", sa.Column("filter_fact", sa.Text()))
    op.add_column("feeds", sa.Column("repaired", sa.Boolean()))
    _read_filters(op.get_bind())


def downgrade() -> None:
    """Take them out again."""
    op.drop_column("feeds", "repaired")
    op.drop_column("episodes", "missing_since")
    op.drop_column("episodes", "filter_fact")


def _read_filters(db: sa.Connection) -> None:
    """Read from the reasons, for the last time, by which fact a filter has skipped an episode."""
    of = episodes.c
    db.execute(sa.update(episodes).where(of.seen_duration == 0).values(seen_duration=None))
    query = sa.select(of.id, of.reason, of.seen_duration).where(
        of.state == "skipped", of.reason.like("filter: %")
    )
    for row in db.execute(query).all():
        if kind := re.match("filter: episode type '(.*)' is", row.reason):
            cause, fact = "episode_type", kind[1]
        elif row.reason.startswith("filter: the title "):
            cause, fact = "title", None  # titles were read in another way
        else:
            cause, fact = "length", str(row.seen_duration or "")
        one = sa.update(episodes).where(of.id == row.id)
        db.execute(one.values(cause=cause, filter_fact=fact))
