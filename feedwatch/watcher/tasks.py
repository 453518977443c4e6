"""Tasks: what an episode's step asks of its media API, for the POST and for the polls."""

from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from feedwatch.core.episode import Episode, input_of
from feedwatch.core.job import Task
from feedwatch.core.ledger import Claim
from feedwatch.core.settings import FeedConfig
from feedwatch.core.submit_waits import believed
from feedwatch.store.store import Store


def task_of(episode: Episode, claim: Claim, source: FeedConfig) -> Task:
    """The task for an episode. The API demands a name: without a title it is the file's."""
    path = PurePosixPath(urlsplit(episode.enclosure_url).path)
    now = episode.submitted_at or episode.first_seen_at
    return Task(
        step=episode.step,
        target=claim.target.id,
        token=claim.token,
        feed=episode.feed,
        episode_id=episode.id,
        url=input_of(episode),
        name=episode.title or unquote(path.stem).strip() or "Untitled episode",
        description=episode.description or "",
        published_at=believed(episode.published_at, now),
        options=source.options_of(episode.step),
    )


def polled_task(store: Store, episode: Episode) -> Task:
    """What an episode's job was to do, as far as a poll needs to know.

    A file that it has made may be named after feed and episode as they were called then.
    """
    claim = store.claims.of(episode)
    return Task(
        step=episode.step,
        target=episode.podcast_id or "",
        token=claim.token if claim is not None else "",
        feed=claim.feed if claim is not None else episode.feed,
        episode_id=(claim.posted_for if claim is not None else None) or episode.id,
        url=input_of(episode),
        name=episode.title,
        description="",
        published_at=None,
    )
