"""Import plan: which feeds of somebody's list are new, and to which podcasts they go. Pure.

One that would publish to a wrong podcast, or pay for the same show twice, is left to a person.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import count
from typing import NamedTuple
from unicodedata import normalize
from urllib.parse import urlsplit

from feedwatch.core.feed import Feed
from feedwatch.core.identity import comparable
from feedwatch.core.podcast_names import Ambiguous, Podcast, Unmatched, match_podcast
from feedwatch.core.printable import counted
from feedwatch.core.settings import FeedConfig

LONGEST_NAME = 40  # characters of a feed's name that is made of a title


class Outline(NamedTuple):
    """A feed as an OPML file has it."""

    url: str
    titles: tuple[str, ...]  # those that it is given, the one of the show first
    podcast_id: str | None = None  # by our own export

    @property
    def title(self) -> str:
        """What to call it: without a title by its host, since an address may hold a password."""
        return self.titles[0] if self.titles else urlsplit(self.url).hostname or ""


class Outcome(StrEnum):
    """What becomes of a feed of the list."""

    NEW = "new"
    KNOWN = "known"  # the config has it, or the list has it above
    LEFT = "left"  # a person has to say what it is


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A feed of the list, and what becomes of it."""

    outline: Outline
    outcome: Outcome
    why: str = ""  # it is not new
    podcast: Podcast | None = None
    name: str = ""  # the feed's, where it is new


def import_plan(
    outlines: Sequence[Outline],
    sources: Collection[FeedConfig],
    remembered: Collection[Feed],
    podcasts: Sequence[Podcast],
    is_address: Callable[[str], bool],
) -> list[Entry]:
    """What becomes of each feed of a list, in its order.

    sources: the feeds that are configured; remembered: those of former configs, too.
    is_address: whether a config takes this text for a feed's URL.
    """
    known = {address_key(one.url): f"configured as feed {one.name}" for one in sources}
    fed = {one.podcast_id: one.name for one in sources if one.podcast_id}
    taken = {one.name for one in sources}
    former = {address_key(one.url): one.name for one in remembered if one.name not in taken}
    taken |= {one.name for one in remembered}
    entries = []
    for outline in outlines:
        key = address_key(outline.url)
        if not is_address(outline.url):
            found: Podcast | str = "it has no address that begins with http:// or https://"
        elif key in known:
            entries.append(Entry(outline=outline, outcome=Outcome.KNOWN, why=known[key]))
            continue
        else:
            found = podcast_of(outline, podcasts)
            known[key] = "in this file once already"
        if isinstance(found, Podcast) and found.id in fed:
            found = f"its podcast {found.id} gets the episodes of feed {fed[found.id]} already"
        if isinstance(found, str):
            entries.append(Entry(outline=outline, outcome=Outcome.LEFT, why=found))
        else:
            entries.append(Entry(outline=outline, outcome=Outcome.NEW, podcast=found))
    for place, entry in enumerate(entries := without_rivals(entries)):
        if entry.outcome is Outcome.NEW:
            # By its former name it is the same feed; by the name of another it would be that one.
            name = former.get(address_key(entry.outline.url)) or free_name(
                entry.outline.title, entry.outline.url, taken
            )
            taken.add(name)
            entries[place] = replace(entry, name=name)
    return entries


def podcast_of(outline: Outline, podcasts: Sequence[Podcast]) -> Podcast | str:
    """The podcast of a feed, by the id that the list says, else by its titles; else why none."""
    if outline.podcast_id is not None:
        by_id = [one for one in podcasts if one.id == outline.podcast_id]
        return by_id[0] if by_id else f"the API key does not reach its podcast {outline.podcast_id}"
    found: dict[Podcast, None] = {}
    near: dict[Podcast, None] = {}
    for title in outline.titles:
        match match_podcast(title, podcasts):
            case Ambiguous(several):
                found |= dict.fromkeys(several)
            case Unmatched(alike):
                near |= dict.fromkeys(alike)
            case podcast:
                found[podcast] = None
    if len(found) == 1:
        return next(iter(found))
    if found:
        return f"several podcasts have its name: {', '.join(one.id for one in found)}"
    proposed = ", ".join(f"{one.name} ({one.id})" for one in near)
    return "no podcast has its name" + (f"; these have one alike: {proposed}" if near else "")


def without_rivals(entries: Sequence[Entry]) -> list[Entry]:
    """The entries, with those left of which several would go to one podcast.

    Each episode would be paid for twice. Where the list names the podcast, as our own export does,
    it is meant.
    """
    numbers = Counter(one.podcast for one in entries if one.podcast is not None)
    kept = []
    for entry in entries:
        podcast = entry.podcast
        if podcast is None or numbers[podcast] == 1 or entry.outline.podcast_id is not None:
            kept.append(entry)
        else:
            feeds = counted(numbers[podcast], "feed")
            why = f"{feeds} of this file have the name of podcast {podcast.id}"
            kept.append(replace(entry, outcome=Outcome.LEFT, podcast=None, why=why))
    return kept


def address_key(url: str) -> str:
    """A feed's address as addresses are compared, without user and password.

    Many servers take it with "/" at its end and without.
    """
    host, slash, path = comparable(url, whole_query=True).partition("/")
    return f"{host.rpartition('@')[2]}{slash}{path}".rstrip("/")


def free_name(title: str, url: str, taken: Collection[str]) -> str:
    """A name for a feed that no other has: of its title, else of its address."""
    base = slug(title) or slug(comparable(url).partition("/")[0]) or "feed"
    names = (base if number == 1 else f"{base}_{number}" for number in count(1))
    return next(name for name in names if name not in taken)


def slug(text: str) -> str:
    """Words of ASCII letters and digits, as keys of a config may have them."""
    if re.fullmatch(r"[a-z0-9]+(?:[_-][a-z0-9]+)*", text) and len(text) <= LONGEST_NAME:
        return text  # a name already
    letters = normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    words = re.findall("[a-z0-9]+", letters.replace("'", ""))
    name = ""
    for word in words:
        if name and len(name) + 1 + len(word) > LONGEST_NAME:
            break
        name += f"_{word}" if name else word[:LONGEST_NAME]
    return name
