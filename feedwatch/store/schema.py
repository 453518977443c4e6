"""The tables. Each change needs a migration as well; a test compares the two.

A column keeps the name that it was released with. Where the code has another word for it, that is
the column's `key`, which statements use; selected rows have the stored name (`sql.columns_of`).
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from feedwatch.core.pipeline import Step
from feedwatch.store.column_types import FlatJson, Remarks, UtcDateTime

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

feeds = Table(
    "feeds",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(255), nullable=False, unique=True),
    Column("url", Text, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("paused", Boolean, nullable=False),
    Column("paused_at", UtcDateTime),
    Column("paused_by", String(120)),
    Column("due_at", UtcDateTime, index=True),
    Column("etag", Text),
    Column("last_modified", Text),
    Column("full_at", UtcDateTime, key="last_full_fetch_at"),
    Column("baseline_at", UtcDateTime),
    Column("checked_at", UtcDateTime),
    Column("success_at", UtcDateTime),
    Column("new_at", UtcDateTime, key="last_new_at"),
    Column("shown", Integer, nullable=False, key="item_count"),
    Column("doubted_before", UtcDateTime, key="hold_if_published_before"),
    Column("doubted_at", UtcDateTime),
    Column("version", Integer, nullable=False),  # counts decisions; a check writes over none
    Column("media_types", Text),
    Column("body_mark", LargeBinary, key="body_hash"),
    Column("asked", Integer, nullable=False, key="full_reads_requested"),
    Column("answered", Integer, nullable=False, key="full_reads_done"),
    Column("failures", Integer, nullable=False),
    Column("error", Text),
    Column("error_kind", String(32)),
    Column("hinted", Integer, key="feed_ttl"),
    Column("fresh", Integer, key="http_max_age"),
    Column("skip_hours", Integer),
    Column("skip_days", Integer),
    Column("moved_to", Text),
    Column("moved_since", UtcDateTime),
    Column("moved_seen", Integer),
    Column("address", Text, key="moved_url"),
    Column("address_reach", Integer, key="url_scope"),
    Column("expected_by", UtcDateTime),
    Column("silent_since", UtcDateTime),
    Column("missing_podcast", Text),
    Column("recent_checks", String(48)),  # a letter each, as in `feed.CheckMark`
    Column("remarks", Remarks),
    Column("repaired", Boolean),
    Column("hub", Text),  # these three: of WebSub, as the last good document names them
    Column("hub_topic", Text),
    Column("hub_scope", Integer),
)

# URL changes: the URLs that feeds are no longer fetched from, and why. Append only.
departures = Table(
    "departures",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("feed_id", ForeignKey("feeds.id"), nullable=False, index=True),
    Column("at", UtcDateTime, nullable=False),
    Column("url", Text, nullable=False),
    Column("reason", Text, nullable=False),
)

episodes = Table(
    "episodes",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("feed_id", ForeignKey("feeds.id"), nullable=False),
    Column("guid", Text),
    Column("title", Text, nullable=False),
    Column("description", Text),  # null: not read yet, as it was not to be submitted
    Column("enclosure_url", Text, nullable=False),
    Column("published_at", UtcDateTime),
    Column("state", String(16), nullable=False),
    Column("reason", Text),
    Column("cause", String(32)),
    Column("feed_duration", Integer),
    Column("title_key", String(600), nullable=False),  # these four: as the feed has it now
    Column("seen_url", Text, nullable=False),  # "": the enclosure_url; see `episodes.URL_IN_FEED`
    Column("seen_published_at", UtcDateTime),
    Column("seen_duration", Integer),
    Column("first_seen_at", UtcDateTime, nullable=False),
    Column("due_at", UtcDateTime),
    Column("step", String(16), nullable=False, server_default=Step.ADS.value),  # under way or next
    Column("source_url", Text),  # what the step is given; null: the enclosure
    Column("claim", BigInteger),
    Column("attempts", Integer, nullable=False),
    Column("deferrals", Integer, nullable=False),
    Column("podcast_id", Text),
    Column("media_id", Text),
    Column("remote_status", Text),
    Column("remote_progress", Float),
    Column("remote_updated_at", Text),
    Column("remote_created_at", Text),
    Column("remote_stood", Integer, nullable=False),
    Column("remote_since", UtcDateTime),
    Column("processed_url", Text),
    Column("duration", Float),
    Column("ad_removal_markers", FlatJson),
    Column("failed_attempts", Integer),
    Column("overdue", Boolean, nullable=False),
    Column("submitted_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("cleared_claim", BigInteger),  # claims up to this do not forbid it
    Column("filter_fact", Text),
    Column("missing_since", UtcDateTime),
    Column("version", Integer, nullable=False),
    Index(None, "media_id"),
    Index(None, "state", "due_at"),  # what is due, whatever the number of episodes
    Index(None, "feed_id", "state"),
    Index(None, "feed_id", "published_at"),
)

# The keys by which the episodes of a feed are known, in the normal form; of one episode as many as
# `identity.MOST_KEYS` allows. The primary key keeps two processes from admitting one episode twice.
# The texts are in it alone, and in no index: an episode's keys are looked for among its feed's.
identities = Table(
    "identities",
    metadata,
    Column("feed_id", ForeignKey("feeds.id"), primary_key=True),
    Column("key", String(600), primary_key=True),
    Column("episode_id", ForeignKey("episodes.id"), nullable=False),
    Column("learned_at", UtcDateTime),  # null: it came with the episode
    sqlite_with_rowid=False,
)

# The seen-item cache of each feed's last good document.
digests = Table(
    "digests",
    metadata,
    Column("feed_id", ForeignKey("feeds.id"), primary_key=True),
    Column("digest", LargeBinary, nullable=False),
)

# The last good document of each feed that is served, well-formed, and what became of it.
documents = Table(
    "documents",
    metadata,
    Column("feed_id", ForeignKey("feeds.id"), primary_key=True),
    Column("body", LargeBinary),  # packed; null: none could be served yet
    Column("url", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("version", Integer, nullable=False),  # counts documents
    Column("problem", Text),  # why the last document is not served
    Column("unplaced", Integer),  # ready episodes that have no item in it; null: not rendered yet
    Column("unplaced_episodes", JSON(none_as_null=True)),  # their ids
)

# What the servers of processed files say of them. A row for each file that was asked for.
processed_files = Table(
    "processed_files",
    metadata,
    Column("episode_id", ForeignKey("episodes.id"), primary_key=True),
    Column("url", Text, nullable=False),
    Column("length", BigInteger),
    Column("type", String(100)),
    Column("attempts", Integer, nullable=False),
    Column("since", UtcDateTime, nullable=False),
    Column("due_at", UtcDateTime),  # of the next attempt; null: there is none
    Column("duration", Float),
    # The file of the job before, which is served until this one's length is known.
    Column("earlier_url", Text),
    Column("earlier_length", BigInteger),
    Column("earlier_type", String(100)),
    Column("earlier_duration", Float),
)

# Subscriptions of feeds to hubs (WebSub): asked for, verified, or about to end.
subscriptions = Table(
    "subscriptions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("feed_id", ForeignKey("feeds.id"), nullable=False, index=True),
    Column("hub", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("scope", Integer, nullable=False),
    Column("token", String(32), nullable=False, unique=True),  # of the callback
    Column("secret", String(64), nullable=False),
    Column("due_at", UtcDateTime, nullable=False),
    Column("pending", String(16)),
    Column("lease_until", UtcDateTime),  # null: never verified
    Column("failures", Integer, nullable=False),
    Column("error", Text),
    Column("pushed_at", UtcDateTime),
    Column("pushes", Text, nullable=False),  # digests of the last ones
    Column("version", Integer, nullable=False),  # counts writes
)

# The history of each episode's states. Append only, written in the transaction that changes it.
history = Table(
    "history",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("episode_id", ForeignKey("episodes.id"), nullable=False, index=True),
    Column("at", UtcDateTime, nullable=False),
    Column("previous", String(16)),  # null: the episode was new
    Column("state", String(16), nullable=False),
    Column("reason", Text),
    Column("actor", String(120)),  # whose decision it was, and how it came; null: feedwatch's own
    Column("step", String(16)),  # null: from before there were steps
)

# The steps that have ended. A row changes only where a job that had failed mends itself.
steps = Table(
    "steps",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("episode_id", ForeignKey("episodes.id"), nullable=False),
    Column("step", String(16), nullable=False),
    Column("processor", String(32), nullable=False),
    Column("target", Text),
    Column("claim", BigInteger),  # null: it was never submitted
    Column("job_id", Text),
    Column("outcome", String(12), nullable=False),
    Column("remote_status", Text),
    Column("url", Text),
    Column("result", FlatJson),
    Column("submitted_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    UniqueConstraint("episode_id", "step", "claim", name="uq_steps_episode_id"),
)

# Circuit breakers, one row for each media API. Its lock also makes claims one after another.
gates = Table(
    "gates",
    metadata,
    Column("processor", String(32), primary_key=True),
    Column("paused", Boolean, nullable=False),
    Column("paused_at", UtcDateTime),
    Column("paused_by", String(120)),
    Column("closed_until", UtcDateTime, key="tripped_until"),
    Column("reason", Text),
    Column("failures", Integer, nullable=False),
    Column("doubts", Integer, nullable=False, key="doubtful_posts"),
    Column("blocked", Boolean, nullable=False),
    Column("odd_episode", Integer),
    Column("odd_answers", Integer, nullable=False),
)

# The ledger: every claim of a POST. Rows are never deleted. The last four columns go from open to
# what the answer proves, and from unknown to what is found out later; nothing else changes.
claims = Table(
    "claims",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("token", String(36), nullable=False, unique=True),
    Column("at", UtcDateTime, nullable=False, index=True),
    Column("term", BigInteger, nullable=False),
    Column("processor", String(32), nullable=False),
    Column("api", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("step", String(16), nullable=False),
    Column("feed", String(255), nullable=False),
    Column("title", Text, nullable=False),
    # null: imported from the journal, and its episode was not met yet
    Column("episode_id", ForeignKey("episodes.id"), index=True),
    Column("posted_for", BigInteger),  # the episode's id as the POST had it, which may be another
    Column("outcome", String(16), nullable=False),
    Column("sent", Boolean, nullable=False),
    Column("media_id", Text),
    Column("settled_at", UtcDateTime),
)

# Payment identity: the keys, hashed, that the episode of each claim was known by.
claim_keys = Table(
    "claim_keys",
    metadata,
    Column("processor", String(32), primary_key=True),
    Column("target", Text, primary_key=True),
    Column("key", String(32), primary_key=True),
    Column("number", ForeignKey("claims.number"), primary_key=True, index=True),
)

# One row: which database this is, and the number of its last claim.
imprint = Table(
    "imprint",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("claims", Integer, nullable=False),
)

# The daemons. `seen_at` is by the database's clock, of which theirs is `clock_offset` s ahead.
daemons = Table(
    "daemons",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("host", String(64), nullable=False),
    Column("version", String(32), nullable=False),
    Column("config_mark", String(64), nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
    Column("clock_offset", Float),
)

# Heartbeats of each daemon: when it started, which goes once it has ended in order, when each loop
# last finished a round, and when it last finished a piece of work.
heartbeats = Table(
    "heartbeats",
    metadata,
    Column("daemon", String(64), primary_key=True, server_default=""),
    Column("duty", String(32), primary_key=True, key="loop"),
    Column("at", UtcDateTime, nullable=False),
)

# Passes: the last runs of `run --once`. Without a time and a status it has not ended, or died.
passes = Table(
    "passes",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("began_at", UtcDateTime, nullable=False),
    Column("seconds", Float),
    Column("status", Integer),
)

# The lease of a PostgreSQL database, by its clock. One row.
leaders = Table(
    "leaders",
    metadata,
    Column("role", String(32), primary_key=True),
    Column("holder", String(64)),  # null: it was given back
    Column("term", BigInteger, nullable=False),  # counts elections
    Column("until", UtcDateTime, nullable=False),
    Column("server", UtcDateTime),  # when that was started on which the term began
)

# Which daemon checks a feed just now, where there are several, by the database's clock.
feed_leases = Table(
    "feed_leases",
    metadata,
    Column("feed_id", ForeignKey("feeds.id"), primary_key=True),
    Column("holder", String(64), nullable=False),
    Column("until", UtcDateTime, nullable=False),
)

# Events to deliver, a row for each channel until it has taken it; `body` is the event's JSON.
outbox = Table(
    "outbox",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("channel", String(64), nullable=False),
    Column("event_id", String(64), nullable=False),
    Column("body", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False, index=True),
    Column("due_at", UtcDateTime, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("error", Text),
    Index(None, "channel", "due_at"),
)

# Sessions of the page: who has logged in, by a hash of what the browser was given.
sessions = Table(
    "sessions",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("actor", String(120), nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
)

# Alerts: the troubles that were announced and are not over, so that each is announced once.
alerts = Table(
    "alerts",
    metadata,
    Column("key", String(300), primary_key=True),
    Column("mark", String(64), nullable=False, key="version"),
    Column("since", UtcDateTime, nullable=False),
    Column("told_at", UtcDateTime, nullable=False),
    Column("gone_at", UtcDateTime),
)
