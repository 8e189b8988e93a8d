"""Difference: which lines of a target would be others, without a value in them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from disco.text import LINE_LIMIT, escape, plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from disco.data.values import Json

HIDDEN = "..."  # stands for a value
LINES_LIMIT = 5000  # lines of a file that are compared


def hide(text: str) -> str:
    """Return a text as it is shown: no value, and as many lines."""
    return re.sub(r"[^\n]+", HIDDEN, text)


def hide_all(data: Json) -> Json:
    """Return data whose texts and numbers are hidden; null, of which formats make no line, stays."""
    if isinstance(data, dict):
        return {key: hide_all(value) for key, value in data.items()}
    if isinstance(data, list):
        return [hide_all(value) for value in data]
    return None if data is None else HIDDEN


def compare(old: str | None, new: str, shown: str) -> Iterator[str]:
    """Yield how a target would change, line by line.

    old: the target's content, None if it is not there. shown: the new content with its values hidden. Of an old line only the
    number is shown: what a value is in it nobody knows.
    """
    import difflib  # noqa: PLC0415 -- most runs compare nothing

    if old == new:
        yield "unchanged"
        return
    before, after, visible = _lines_of(old or ""), _lines_of(new), _lines_of(shown)
    yield f"would be {'written' if old is None else 'changed'}: {plural(len(after), 'line')}"
    if max(len(before), len(after)) > LINES_LIMIT:
        return
    if len(visible) != len(after):
        visible = [HIDDEN] * len(after)
    for kind, start, end, new_start, new_end in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind != "equal":
            yield from (f"-{number + 1}" for number in range(start, end))
            yield from (f"+{number + 1} {escape(visible[number], LINE_LIMIT)}".rstrip() for number in range(new_start, new_end))


def _lines_of(text: str) -> list[str]:
    lines = text.split("\n")
    return lines if lines[-1] else lines[:-1]
