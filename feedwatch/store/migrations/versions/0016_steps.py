"""What several steps need: the step that a row describes, its input, and the steps that ended.

And for which episode's id a POST was, since a file that it has made may be named after it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

# Until now each episode has had one step, `ads` by Inlet.
SUBMITTED = """
update episodes set claim = coalesce(
    (select max(number) from claims
     where claims.episode_id = episodes.id and claims.media_id = episodes.media_id),
    (select max(number) from claims where claims.episode_id = episodes.id))
where state in ('submitting', 'unknown', 'processing', 'ready', 'failed', 'skipped')
"""
ENDED = """
insert into steps (episode_id, step, processor, target, claim, job_id, outcome, remote_status, url,
                   submitted_at, finished_at)
select id, 'ads', 'inlet', podcast_id, claim, media_id,
       case state when 'ready' then 'done' else 'failed' end,
       remote_status, case state when 'ready' then processed_url end, submitted_at, finished_at
from episodes where state in ('ready', 'failed') and claim is not null order by id
"""


def upgrade() -> None:
    """Add the columns and the table, with what is known of the episodes that there are."""
    op.add_column(
        "episodes", sa.Column("step", sa.String(16), nullable=False, server_default="ads")
    )
    op.add_column("episodes", sa.Column("source_url", sa.Text()))
    op.add_column("episodes", sa.Column("claim", sa.BigInteger()))
    op.add_column("episodes", sa.Column("remote_progress", sa.Float()))
    op.add_column("history", sa.Column("step", sa.String(16)))
    op.add_column("claims", sa.Column("posted_for", sa.BigInteger()))
    op.create_table(
        "steps",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("episode_id", sa.Integer(), nullable=False),
        sa.Column("step", sa.String(16), nullable=False),
        sa.Column("processor", sa.String(32), nullable=False),
        sa.Column("target", sa.Text()),
        sa.Column("claim", sa.BigInteger()),
        sa.Column("job_id", sa.Text()),
        sa.Column("outcome", sa.String(12), nullable=False),
        sa.Column("remote_status", sa.Text()),
        sa.Column("url", sa.Text()),
        sa.Column("result", sa.JSON()),
        sa.Column("submitted_at", sa.DateTime(timezone=True)),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.ForeignKeyConstraint(["episode_id"], ["episodes.id"], name="fk_steps_episode_id"),
        sa.PrimaryKeyConstraint("id", name="pk_steps"),
        sa.UniqueConstraint("episode_id", "step", "claim", name="uq_steps_episode_id"),
    )
    op.execute(SUBMITTED)
    op.execute(ENDED)


def downgrade() -> None:
    """Take them out again. What is in the middle of several steps stays at the one it has."""
    op.drop_table("steps")
    op.drop_column("claims", "posted_for")
    op.drop_column("history", "step")
    for name in ("remote_progress", "claim", "source_url", "step"):
        op.drop_column("episodes", name)
