"""Keys and titles in their normal form, and when a key was learned.

The normal form is that of `core.identity`, not a copy of it: it is frozen, and a key that is looked
up must be written as the ones here are, to the letter.
"""

from collections import defaultdict

import sqlalchemy as sa
from alembic import op

from feedwatch.core.identity import Key, KeyKind, comparable, guid_key, title_key

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

identities = sa.table(
    "identities",
    sa.column("feed_id", sa.Integer),
    sa.column("key", sa.String),
    sa.column("episode_id", sa.Integer),
)
episodes = sa.table("episodes", sa.column("id", sa.Integer), sa.column("title_key", sa.String))


def upgrade() -> None:
    """Add the column, and rewrite one feed's keys after another's: there may be millions.

    The caches of seen items need no rewriting: they are void by their own version.
    """
    op.add_column("identities", sa.Column("learned_at", sa.DateTime(timezone=True)))
    db = op.get_bind()
    for feed_id in db.scalars(sa.select(identities.c.feed_id).distinct()).all():
        _rewrite_keys(db, feed_id)
    titles = [
        {"of": row.id, "to": to}
        for row in db.execute(sa.select(episodes))
        if (to := title_key(row.title_key)) != row.title_key
    ]
    one = episodes.c.id == sa.bindparam("of")
    if titles:
        db.execute(sa.update(episodes).where(one).values(title_key=sa.bindparam("to")), titles)


def downgrade() -> None:
    """Take the column out again; keys stay in the normal form, and are learned anew."""
    op.drop_column("identities", "learned_at")


def _rewrite_keys(db: sa.Connection, feed_id: int) -> None:
    """Write the keys of a feed in the normal form; of two that are one, the older episode's."""
    own = identities.c.feed_id == feed_id
    query = sa.select(identities.c.key, identities.c.episode_id).where(own)
    before = {row.key: row.episode_id for row in db.execute(query)}
    normal = {text: _normal(text) for text in before}
    owners: dict[str, set[int]] = defaultdict(set)
    for text, episode_id in before.items():
        owners[normal[text]].add(episode_id)
    after: dict[str, int] = {}
    for text, episode_id in before.items():
        # Where a parameter known to change tells episodes apart, the whole query is the key.
        shared = len(owners[normal[text]]) > 1
        key = _normal(text, whole_query=True) if shared else normal[text]
        after[key] = min(episode_id, after.get(key, episode_id))
    gone = [{"old": text} for text in before if after.get(text) != before[text]]
    come = [
        {"feed_id": feed_id, "key": text, "episode_id": episode_id}
        for text, episode_id in after.items()
        if before.get(text) != episode_id
    ]
    if gone:
        db.execute(sa.delete(identities).where(own, identities.c.key == sa.bindparam("old")), gone)
    if come:
        db.execute(sa.insert(identities), come)


def _normal(text: str, *, whole_query: bool = False) -> str:
    """A key as `str(Key)` has it, in the normal form; a hash stays what it is."""
    key = Key.parse(text)
    match key.kind:
        case KeyKind.GUID:
            value = guid_key(key.value)
        case KeyKind.FILE:
            value = comparable(key.value, whole_query=whole_query)
        case KeyKind.DATE:
            when, _, title = key.value.partition(" ")
            value = f"{when} {title_key(title)}"
    return str(Key(key.kind, value))
