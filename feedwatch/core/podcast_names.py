"""Which podcast of the media API a feed's episodes go to, found by the show's name. Pure.

Episodes that go to a wrong podcast are published there, so nothing is guessed: names are compared
in one normal form, and what is merely alike is proposed and never chosen.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple
from unicodedata import category, normalize

MOST_NEAR = 3  # podcasts that are proposed
NEAR_AT_LEAST = 0.6  # of the pairs of letters that two names have, so many are in both
CACHED = 8192  # names
# Signs that tell shows apart: "C#" is not "C". Unicode counts them as punctuation.
MEANT = frozenset("#%&*@")


class Podcast(NamedTuple):
    """A podcast that the API key reaches."""

    id: str
    name: str


class Ambiguous(NamedTuple):
    """Several podcasts have this name; a person must say which."""

    podcasts: tuple[Podcast, ...]


class Unmatched(NamedTuple):
    """No podcast has this name. Those with names alike, the nearest first."""

    near: tuple[Podcast, ...]


Match = Podcast | Ambiguous | Unmatched


def podcasts_in(entries: Iterable[Mapping[str, object]]) -> tuple[Podcast, ...]:
    """The podcasts of the API's list, each once; an entry without an id or a name is none."""
    found = {}
    for entry in entries:
        number, name = entry.get("id"), entry.get("name")
        if isinstance(number, str) and isinstance(name, str) and number:
            found[number] = Podcast(number, name)
    return tuple(found.values())


def match_podcast(title: str, podcasts: Sequence[Podcast]) -> Match:
    """The only podcast with the name `title`; else those that share it, or have one alike."""
    wanted = name_key(title)
    same = tuple(one for one in podcasts if wanted and name_key(one.name) == wanted)
    if len(same) == 1:
        return same[0]
    return Ambiguous(same) if same else Unmatched(_near(wanted, podcasts))


@lru_cache(CACHED)
def name_key(name: str) -> str:
    """A name as names are compared: in NFKC and casefolded, without punctuation and odd spaces.

    Empty for a name of punctuation alone, which is no podcast's.
    """
    folded = normalize("NFKC", normalize("NFKC", name).casefold())
    return " ".join("".join(map(_plain, folded)).split())


def _plain(sign: str) -> str:
    """A space for punctuation and for what breaks a line; nothing for what nobody can see."""
    kind = category(sign)
    if kind == "Cf":
        return ""
    return " " if (kind[0] == "P" and sign not in MEANT) or kind == "Cc" else sign


def _near(wanted: str, podcasts: Sequence[Podcast]) -> tuple[Podcast, ...]:
    letters = _pairs(wanted)
    found = []
    for one in podcasts:
        others = _pairs(name_key(one.name))
        likeness = 2 * len(letters & others) / max(len(letters) + len(others), 1)
        if likeness >= NEAR_AT_LEAST:
            found.append((-likeness, one.name, one.id))
    return tuple(Podcast(number, name) for _, name, number in sorted(found)[:MOST_NEAR])


@lru_cache(CACHED)
def _pairs(text: str) -> frozenset[str]:
    """Each two letters that stand beside each other, with an edge before and after."""
    edged = f" {text} "
    return frozenset(edged[at : at + 2] for at in range(len(edged) - 1)) if text else frozenset()
