"""The log: of this process to stderr, of children by what they write to their pipes.

Only disco's first process and the coordinator write to stderr, and they never wait for a reader: what does not fit now is
dropped and counted.
"""

from __future__ import annotations

import logging
import os
import stat
import time
from typing import TYPE_CHECKING

from disco.text import encode, escape
from disco.wire.records import FIELD_LIMIT, FIELDS, LINE_LIMIT, dump, write_if_ready

if TYPE_CHECKING:
    from disco.wire.records import Fields

FAINT, PLAIN = "\x1b[2m", "\x1b[0m"  # ECMA-48
COLOURS = {logging.DEBUG: FAINT, logging.INFO: "\x1b[32m", logging.WARNING: "\x1b[33m", logging.ERROR: "\x1b[1;31m"}


class StderrHandler(logging.Handler):
    """Writes to stderr without ever waiting for its reader.

    O_NONBLOCK would change the description that COMMAND and the terminal share, so a pipe or terminal is opened anew for it where
    that is allowed; else a poll before each write has to do.
    """

    def __init__(self) -> None:
        """Find out what stderr is."""
        super().__init__()
        self.style = "text"
        self.process = "disco"  # who this is
        self._colour = False
        self._dropped = 0
        self._descriptor = 2
        try:
            mode = os.fstat(2).st_mode
            # https://no-color.org: any value but the empty one counts.
            self._colour = os.isatty(2) and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"
            if stat.S_ISFIFO(mode) or (stat.S_ISCHR(mode) and os.isatty(2)):
                self._descriptor = os.open("/proc/self/fd/2", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            pass

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record as one line, or count it as dropped."""
        if self._dropped:
            text = f"{self._dropped} log lines were dropped: nobody read them"
            if write_if_ready(self._descriptor, self.line(logging.WARNING, text, {"event": "lines-dropped"})):
                self._dropped = 0
        line = self.line(record.levelno, record.getMessage(), getattr(record, "fields", {}), *getattr(record, "child", ()))
        if not write_if_ready(self._descriptor, line):
            self._dropped += 1

    def line(self, level: int, text: str, fields: Fields, process: str = "", pid: int = 0) -> bytes:
        """Return a record as it is written; without a process it is this one's."""
        process, pid = process or self.process, pid or os.getpid()
        if self.style == "json":
            return _as_json(level, process, pid, text, fields)
        return _as_text(level, process, pid, text, fields, colour=self._colour)


def set_up(level: str) -> StderrHandler:
    """Give the root logger its one handler; call once, before any fork."""
    handler = StderrHandler()
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.raiseExceptions = False  # a log line that cannot be written must not become a traceback
    if root.isEnabledFor(logging.DEBUG):
        from disco.wire import pipe_log  # noqa: F401, PLC0415 -- each child will need it: imported here, its memory is shared
    return handler


def emit(level: int, process: str, pid: int, text: str, fields: Fields) -> None:
    """Log a line that another process wrote."""
    root = logging.getLogger()
    if root.isEnabledFor(level):
        record = logging.LogRecord("disco", level, "", 0, text, None, None)
        record.child, record.fields = (process, pid), fields
        root.handle(record)


def _now() -> str:
    """Return the time as RFC 3339 has it."""
    now = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now * 1000) % 1000:03}Z"


def _as_text(level: int, process: str, pid: int, text: str, fields: Fields, *, colour: bool) -> bytes:  # noqa: PLR0913 -- what a line shows
    """Return a line for people; at DEBUG with its fields, so that all lines about a source or a rule can be searched."""
    name, process = f"{logging.getLevelName(level):<7}", escape(process, FIELD_LIMIT)
    if colour:
        head = f"{FAINT}{_now()}{PLAIN} {COLOURS.get(level, '')}{name}{PLAIN} {FAINT}{process}[{pid}]{PLAIN} "
    else:
        head = f"{_now()} {name} {process}[{pid}] "
    if logging.getLogger().isEnabledFor(logging.DEBUG):
        text += "".join(f" {name}={value}" for name, value in fields.items() if name != "event")
    # Text of a child is one line; the coordinator's own may hold several, and each gets its head.
    lines = (head + escape(line, LINE_LIMIT) for line in text.split("\n"))
    return encode("\n".join(lines), LINE_LIMIT - 1) + b"\n"


def _as_json(level: int, process: str, pid: int, text: str, fields: Fields) -> bytes:
    """Return one object on one line, for collectors; a field that does not apply is left out."""
    record = {"time": _now(), "level": logging.getLevelName(level), "process": escape(process, FIELD_LIMIT), "pid": pid}
    record |= {name: escape(fields[name], FIELD_LIMIT) for name in FIELDS if fields.get(name)}
    room = LINE_LIMIT - len(dump(record)) - len(', "message": ""}\n')
    for limit in (room, room // 6):  # an escape takes up to six bytes for a character
        line = dump(record | {"message": text[:limit]}) + b"\n"
        if len(line) <= LINE_LIMIT:
            break
    return line
