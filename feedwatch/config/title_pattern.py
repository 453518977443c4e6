"""Title patterns: the operator's regular expressions, which strangers' titles are held against.

Python's `re` may take years for a title of forty letters, in which no other thread runs. `regex`
reads the same syntax, lets other threads run, and can be told when to give up.
"""

import re
import warnings
from dataclasses import dataclass, field
from typing import Any

import regex

TITLE_SECONDS = 0.1  # of CPU time; an ordinary pattern takes a ten-thousandth of it


@dataclass(frozen=True)
class TitlePattern:
    """A regular expression of Python's; two are equal if their text is."""

    pattern: str
    _compiled: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Raise `ValueError` if it is none, or one that cannot be given up."""
        try:
            re.compile(self.pattern)
            with warnings.catch_warnings(action="ignore"):  # of syntax that may change its meaning
                compiled = regex.compile(self.pattern, regex.VERSION0)
        except (re.error, regex.error, RecursionError, OverflowError) as error:
            raise ValueError(str(error)) from error
        object.__setattr__(self, "_compiled", compiled)

    def found_in(self, title: str) -> bool | None:
        """Whether it is found in a title; None if it takes too long to tell."""
        try:
            return self._compiled.search(title, timeout=TITLE_SECONDS) is not None
        except (TimeoutError, MemoryError):
            return None
