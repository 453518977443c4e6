"""Events: the messages that channels deliver. Pure; docs/notifications.md lists them.

An event's id follows from its content, so a repeated delivery carries the same id.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from feedwatch.core.alert import Alert
from feedwatch.core.episode import Episode
from feedwatch.core.json_forms import episode_json, stamp
from feedwatch.core.ledger import TITLE_LENGTH, Claim, Restoration
from feedwatch.core.masking import masked_content, masked_document, shortened
from feedwatch.core.printable import counted, printable


@dataclass(frozen=True, kw_only=True)
class Event:
    """An event: one message, delivered once by every channel."""

    id: str
    type: str
    at: datetime
    text: str  # one line for people
    data: Mapping[str, Any]  # for programs


@dataclass(frozen=True, kw_only=True)
class Change:
    """What becomes of an alert, and the event that announces it, if any."""

    alert: Alert
    over: bool = False
    event: Event | None = None


def event(kind: str, subject: str, at: datetime, text: str, data: Mapping[str, Any]) -> Event:
    """An event of type `kind` about `subject`."""
    content_hash = sha256(f"{kind} {subject} {at.isoformat()}".encode()).hexdigest()
    return Event(
        id=f"evt_{content_hash[:32]}",
        type=kind,
        at=at,
        # The config's secrets alone: a link to what is ready must stay one.
        text=printable(masked_content(text)),
        data=masked_document(data),
    )


def ready(episode: Episode, at: datetime) -> Event:
    """`episode.ready`: an episode has its processed URL."""
    title = shortened(episode.title, 200)
    text = f"feed {episode.feed}: {title!r} is ready: {episode.processed_url}"
    return event("episode.ready", str(episode.id), at, text, {"episode": episode_json(episode)})


def restored(at: datetime, done: Restoration) -> Event:
    """`database.restored`: claims were made that this database lacked; the journal had them."""
    text = (
        f"this database is new, another one or restored from a copy: the journal has "
        f"{counted(done.imported, 'submission')} that it did not know. Of these, whose episodes "
        f"are polled again: {done.processing}, may or may not have been taken: {done.unknown}, "
        f"were met by no check yet: {done.unmet}; that change nothing here, such as refused ones: "
        f"{done.idle}. Older items that turn up in these feeds are held: "
        f"{', '.join(done.feeds) or 'no feed of the config'}"
    )
    return event("database.restored", "database", at, text, asdict(done) | {"held": 0})


def everything_held(at: datetime, queued: int) -> Event:
    """`database.restored`, where no journal tells which claims are missing: all is held."""
    text = (
        "more was submitted than this database knows of: it is new, another one or restored from "
        f"a copy. {counted(queued, 'queued episode')} and what the next check of each feed finds "
        "new are held: `feedwatch approve --feed NAME` or `feedwatch skip --feed NAME` settles it"
    )
    return event("database.restored", "database", at, text, {"held": queued})


def contradicted(recorded: Claim, known: Claim) -> Event:
    """`database.contradicted`: of one submission the journal and the ledger have different jobs.

    The journal is put right by that. Where it cannot be written each comparison finds this again,
    so the event's id is that of the answer and not of the moment.
    """
    title = shortened(known.title, TITLE_LENGTH)
    text = (
        f"feed {known.feed}: of the submission of {title!r} on {known.at:%Y-%m-%d} the journal has "
        f"the job {recorded.media_id} and the database {known.media_id}, which stays; look at the "
        "media API which of them is this episode's"
    )
    data = {
        "feed": known.feed,
        "episode_id": known.episode_id,
        "title": title,
        "media_id": known.media_id,
        "media_id_in_journal": recorded.media_id,
    }
    subject = f"{known.token} {known.media_id} {recorded.media_id}"
    return event("database.contradicted", subject, known.settled_at or known.at, text, data)


def test(at: datetime) -> Event:
    """`test`: nothing has happened; a person wants to see whether a message arrives."""
    return event("test", "test", at, "this is a test: notifications of feedwatch arrive here", {})


def to_json(event: Event) -> str:
    """The event as every channel delivers it, always the same bytes."""
    document = {
        "id": event.id,
        "type": event.type,
        "timestamp": stamp(event.at),
        "text": event.text,
        "data": event.data,
    }
    return json.dumps(document, ensure_ascii=False)


def from_json(text: str) -> Event:
    """The event that `to_json` has written."""
    document = json.loads(text)
    at = datetime.fromisoformat(document.pop("timestamp"))
    return Event(at=at, **document)
