"""Texts for people: hostile ones made fit for a line, and how much of each is shown."""

from __future__ import annotations

import re
from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# How many characters are shown at most; `escape` cuts the rest, and marks the cut.
NAME_LIMIT = 80  # of one name: a key, an interface, a rule, an option, a host
PATH_LIMIT = 200  # of what is made of names: a path, a program, a prefix, a JSON pointer
PROBLEM_LIMIT = 300  # of one thing that is wrong with an interface's data
REASON_LIMIT = 500  # of why a source or a handler failed, and of a source's note
LINE_LIMIT = 4000  # of a whole line

MINUTE, HOUR = 60, 3600  # seconds

_URL_USER = re.compile(r"(?<=://)[^/\s]*@")


def escape(text: str, limit: int) -> str:
    """Return text on one line: what does not print escaped, at most `limit` characters, the cut marked."""
    shown, is_cut = text[:limit], len(text) > limit
    if not shown.isprintable():
        pieces = [c if c.isprintable() else ascii(c)[1:-1] for c in shown]
        fit = bisect_right(list(accumulate(map(len, pieces))), limit)
        shown, is_cut = "".join(pieces[:fit]), is_cut or fit < len(pieces)
    return shown + "…" if is_cut else shown


def shorten(names: Sequence[str], limit: int) -> str:
    """Return the first `limit` names, joined by commas; an ellipsis says that there are more."""
    return ", ".join(names[:limit]) + (", …" if len(names) > limit else "")


def encode(text: str, limit: int) -> bytes:
    """Return text as UTF-8 of at most `limit` bytes, cut between two characters."""
    content = text.encode(errors="backslashreplace")
    return content if len(content) <= limit else content[:limit].decode(errors="ignore").encode()


def redact(text: str) -> str:
    """Return text without the user part of any URL in it."""
    return _URL_USER.sub("", text)


def duration(seconds: float) -> str:
    """Return seconds for people."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 2 * MINUTE:
        return f"{seconds:.3g} s"
    if seconds < 2 * HOUR:
        return f"{seconds / MINUTE:.0f} min"
    return f"{seconds / HOUR:.1f} h"


def plural(count: int, noun: str) -> str:
    """Return a count with its noun."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def nearest(name: str, known: Iterable[str], otherwise: str, near: float = 0.6) -> str:
    """Return the remedy for an unknown name: the nearest known one, or `otherwise` if none is as near as `near` (0 to 1)."""
    import difflib  # noqa: PLC0415 -- only for what is wrong

    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=near)
    return f"did you mean {matches[0]}?" if matches else otherwise


def place_after(start: bytes) -> str:
    """Return `:LINE:COLUMN` of what follows the start of a UTF-8 text."""
    before = start.decode(errors="ignore")
    return f":{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"
