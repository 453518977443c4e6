"""What a page shows of texts that others wrote: no secret, no hidden sign, no link but to the web.

Every value that a template prints goes through `finalize`, and is escaped after that.
"""

import re
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from flask import Flask
from markupsafe import Markup, escape

from feedwatch.core.health import spoken
from feedwatch.core.json_forms import short, stamp
from feedwatch.core.masking import masked
from feedwatch.core.pipeline import PROCESSOR_OF
from feedwatch.core.printable import counted
from feedwatch.core.remarks import in_words, missing_podcast_in_words

PLAIN = "text/plain; charset=utf-8"
WIDE_SPACE = re.compile(r"[\xa0\u1680\u2000-\u200a\u202f\u205f\u3000]")
JOINERS = "\u200c\u200d"  # of many scripts, and of pictures of people
PLAIN_TEXT = re.compile(r"[\x20-\x7e]*")
ESCAPED = {sign: len(escape(sign)) for sign in "<>&'\""}  # bytes of a sign on a page


def shown(text: str, *, keep: str = "") -> str:
    """`text` masked, with an escape in place of each control and direction sign."""
    text = masked(text)
    if PLAIN_TEXT.fullmatch(text):
        return text
    text = WIDE_SPACE.sub(" ", text)
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() or sign in keep or sign in JOINERS else f"\\u{{{ord(sign):x}}}"
        for sign in text
    )


def cut(text: str, most: int) -> str:
    """`text` as it is shown, or its beginning that costs at most `most` bytes on a page.

    By bytes of escaped UTF-8, since a sign costs one or five of them. It is masked before it is
    cut: half a secret would not be known for one.
    """
    text, spent = shown(text), 0
    for place, sign in enumerate(text):
        spent += ESCAPED.get(sign) or len(sign.encode())
        if spent > most:
            return f"{text[:place].rstrip()}…"
    return text


def finalize(value: Any) -> Any:
    """What a template prints of a value."""
    if value is None:
        return ""
    return shown(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def paragraphs(text: str | None) -> Markup:
    """A text of several lines."""
    return Markup("<br>").join(escape(shown(line)) for line in (text or "").splitlines())


def link(url: str | None, words: str | None = None, *, exact: bool = False) -> Markup:
    """A link to an address of the web; anything else is shown as text.

    exact: whatever it looks like, as `feedwatch show` gives a processed URL; else an address that
    looks as if it had a secret in it is masked, and is no link.
    """
    if url is None:
        return Markup("")
    text = escape(shown(words) if words is not None else url if exact else shown(url))
    try:
        parts = urlsplit(url)
        leads = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        leads = False
    if not leads or (not exact and shown(url) != url):
        return text
    return Markup('<a href="{}" rel="noopener noreferrer nofollow">{}</a>').format(url, text)


def moment(at: datetime | None, now: datetime | None = None) -> Markup:
    """A time, to the minute; with `now`, how far that is from now."""
    if at is None:
        return Markup("-")
    words = f"{short(at)} UTC"
    if now is not None:
        length = spoken(abs(now - at))
        words = f"{length} ago" if at <= now else f"in {length}"
    return Markup('<time datetime="{}" title="{} UTC">{}</time>').format(
        stamp(at), short(at), words
    )


def set_up(app: Flask) -> None:
    """Have all templates show texts like this."""
    app.jinja_options = {
        "finalize": finalize,
        "trim_blocks": True,
        "lstrip_blocks": True,
        "autoescape": True,
    }
    app.jinja_env.filters |= {
        "paragraphs": paragraphs,
        "moment": moment,
        "link": link,
        "in_words": in_words,
        "missing_podcast": missing_podcast_in_words,
        "processor": PROCESSOR_OF.__getitem__,
        "counted": counted,
        "cut": cut,
    }
