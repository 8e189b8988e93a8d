"""Log records on their way from a child to the coordinator: one line each, in the pipe that is the child's stdout and stderr too.

What a client library or its C code prints arrives in the same pipe. Nobody ever waits for a reader.
"""

from __future__ import annotations

import codecs
import json
import logging
import os
import select
from typing import TYPE_CHECKING

from disco.text import escape

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Fields = Mapping[str, str]

LINE_LIMIT = select.PIPE_BUF  # a write of so many bytes to a pipe is atomic
TEXT_LIMIT = 2000  # characters of a message
MARK = "\x1e"  # starts a record's line (RFC 7464), which printed text hardly does
FIELDS = ("source", "rule", "interface", "event")  # what a record may be about, besides its process
FIELD_LIMIT = 100  # characters of one field
SHORT_TEXT_LIMIT, SHORT_FIELD_LIMIT = 150, 40  # characters that fit a line if each is escaped twice, to eleven bytes
LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)


class LineReader:
    """A child's log pipe, split into records."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        """Start with an empty line."""
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, str, Fields]]:
        """Take bytes; yield level, text and fields of each line that is whole, or longer than any may be. End of file: b""."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop() if data else b""
        if len(self._rest) > 2 * LINE_LIMIT:
            _, whole = codecs.utf_8_decode(self._rest, "replace", False)
            lines.append(self._rest[:whole])
            self._rest = self._rest[whole:]
        for line in lines:
            printed, mark, record = line.partition(MARK.encode())
            if printed.strip():
                yield logging.DEBUG, escape(printed.decode(errors="replace"), TEXT_LIMIT), {"event": "printed"}
            if mark:
                yield _parse(record)


def encode(level: int, text: str, fields: Fields) -> bytes:
    """Return a record as a line that is written at once."""
    for limit, most in ((TEXT_LIMIT, FIELD_LIMIT), (SHORT_TEXT_LIMIT, SHORT_FIELD_LIMIT)):
        shown = {name: escape(value, most) for name, value in fields.items()}
        line = MARK.encode() + dump([known_level(level), escape(text, limit), shown]) + b"\n"
        if len(line) <= LINE_LIMIT:
            break
    return line


def dump(data: object) -> bytes:
    """Return data as JSON on one line; text that is no UTF-8 as JSON's own escapes, which Python's look like."""
    return json.dumps(data, ensure_ascii=False).encode(errors="backslashreplace")


def known_level(level: int) -> int:
    """Return the highest of the four levels that is not above this one."""
    return max((known for known in LEVELS if known <= level), default=logging.DEBUG)


def write_if_ready(descriptor: int, line: bytes) -> bool:
    """Write one line of at most LINE_LIMIT bytes if that does not wait; return whether it was written."""
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        if not any(events & select.POLLOUT for _, events in poll.poll(0)):
            return False
        return os.write(descriptor, line) == len(line)
    except OSError:
        return False


def _parse(record: bytes) -> tuple[int, str, Fields]:
    """Return a record, or printed text where it is none: a child is not trusted."""
    try:
        level, text, fields = json.loads(record)
        if type(level) is int and isinstance(text, str) and isinstance(fields, dict) and fields.keys() <= set(FIELDS):
            shown = {name: escape(str(value), FIELD_LIMIT) for name, value in fields.items()}
            return known_level(level), escape(text, TEXT_LIMIT), shown
    except (ValueError, TypeError, RecursionError):
        pass
    return logging.DEBUG, escape(record.decode(errors="replace"), TEXT_LIMIT), {"event": "printed"}
