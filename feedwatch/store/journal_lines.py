"""Journal lines: claims, and what came of them, as JSON that may have been damaged since."""

import json
from collections.abc import Iterable
from datetime import datetime
from operator import itemgetter
from typing import Any
from urllib.parse import urlsplit

from feedwatch.core.json_forms import stamp
from feedwatch.core.ledger import Claim, Outcome, Target
from feedwatch.core.pipeline import Step

VERSION = 1  # rises if the normal form of the identity keys, whose hashes a line has, ever changes
MOST_NUMBER = 2**31  # of a claim: no damaged one may become the last one's
MOST_KEYS = 24  # of an episode in a line, the strongest first: a line has at most 2 KB

Line = dict[str, Any]  # of a claim, or of what came of it
LONGEST = {"t": 36, "proc": 32, "feed": 255}  # as the columns have it
_texts_of = itemgetter("t", "at", "proc", "api", "target", "step", "feed", "title")


def claim_line(claim: Claim, database_id: str) -> str:
    """The line of a claim."""
    content = {
        "v": VERSION,
        "db": database_id,
        "n": claim.number,
        "t": claim.token,
        "at": stamp(claim.at),
        "term": claim.term,
        "proc": claim.target.processor,
        "api": claim.target.api,
        "target": claim.target.id,
        "step": claim.step,
        "feed": claim.feed,
        "ep": claim.posted_for if claim.posted_for is not None else claim.episode_id,
        "title": claim.title,
        "keys": claim.keys[:MOST_KEYS],
    }
    return json.dumps(content, ensure_ascii=False)


def settlement_lines(claims: Iterable[Claim]) -> list[str]:
    """The lines that say what came of these claims."""
    return [
        settlement_line(one.token, one.outcome, one.media_id, one.settled_at or one.at)
        for one in claims
        if one.outcome is not Outcome.OPEN
    ]


def settlement_line(token: str, outcome: Outcome, media_id: str | None, at: datetime) -> str:
    """The line that says what came of a claim."""
    content = {"v": VERSION, "t": token, "out": outcome, "id": media_id, "at": stamp(at)}
    return json.dumps(content)


def whole_lines(content: bytes) -> tuple[list[Line], int]:
    """The whole lines of a file, and how many are torn or damaged: other places may have those."""
    *texts, last = content.decode("utf-8-sig", "replace").split("\n")
    texts = [text for text in texts if text]
    if isinstance(_parsed(last), dict):  # it lacks its newline alone: no part of an object is one
        texts.append(last)
    try:
        lines = json.loads(f"[{','.join(texts)}]")  # at once: half the time of one by one
    except (ValueError, RecursionError):
        lines = [_parsed(text) for text in texts]
    whole = [line for line in lines if _is_whole(line)]
    return whole, len(lines) - len(whole)


def claims_of(lines: Iterable[Line]) -> list[Claim]:
    """The claims of whole lines, by token, each with what came of it; by their numbers."""
    claims: dict[str, Line] = {}
    settled: dict[str, Line] = {}
    for line in lines:
        token = line["t"]
        if "out" not in line:
            claims.setdefault(token, line)
        elif (
            token not in settled
            or settled[token]["out"] != Outcome.ACCEPTED
            or (line["out"] == Outcome.ACCEPTED and line["id"] is not None)  # a corrected job
        ):
            settled[token] = line
    found = [_claim(line, settled.get(token)) for token, line in claims.items()]
    return sorted(found, key=lambda one: (one.number, one.at))


def _claim(line: Line, settled: Line | None) -> Claim:
    """The claim of its line, and of the line that says what came of it."""
    return Claim(
        number=line["n"],
        token=line["t"],
        at=datetime.fromisoformat(line["at"]),
        term=line["term"],
        target=Target(line["proc"], line["api"], line["target"]),
        step=Step(line["step"]),
        feed=line["feed"],
        episode_id=line["ep"],
        posted_for=line["ep"],
        title=line["title"],
        keys=tuple(line["keys"]),
        outcome=Outcome(settled["out"]) if settled is not None else Outcome.OPEN,
        media_id=settled["id"] if settled is not None else None,
        settled_at=datetime.fromisoformat(settled["at"]) if settled is not None else None,
    )


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_whole(line: Any) -> bool:
    """Whether a line has all that its kind has, in forms that every database can hold.

    Damage may leave it JSON; one such line must not keep the others from being read.
    """
    try:
        if "out" in line:
            Outcome(line["out"])
            texts = [line["t"], line["id"] if line["id"] is not None else ""]
        else:
            texts = [*_texts_of(line), *line["keys"]]
            if any(len(line[name]) > most for name, most in LONGEST.items()):
                return False
            urlsplit(line["api"])
            Step(line["step"])
            for number in (line["n"], line["term"], line["ep"] if line["ep"] is not None else 0):
                if type(number) is not int or not 0 <= number < MOST_NUMBER:
                    return False
        datetime.fromisoformat(line["at"])
        text = "".join(texts)
        text.encode()  # a lone surrogate is no text
        return "\0" not in text and bool(line["at"].endswith("Z"))
    except (KeyError, TypeError, ValueError, AttributeError):
        return False
