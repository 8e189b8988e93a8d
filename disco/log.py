"""Log records of all processes to one stream.

Each child writes its records as lines to a pipe of its own, which is also its stdout and stderr: what a client library or its C
code prints arrives too. The coordinator alone writes to stderr. Nobody ever waits for a reader: what does not fit now is dropped
and counted. multiprocessing-logging's handler is the base; its queue (one lock for all writers: a child killed while it writes
would silence all the others) and its thread (a fork beside a thread is unsafe) are never made.
"""

from __future__ import annotations

import json
import logging
import os
import select
import stat
import time
from typing import TYPE_CHECKING

from multiprocessing_logging import MultiProcessingHandler

from disco.text import escape

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Fields = Mapping[str, str]

LINE_LIMIT = select.PIPE_BUF  # a write of so many bytes to a pipe is atomic
TEXT_LIMIT = 2000  # characters of a message
MARK = "\x1e"  # starts a record's line (RFC 7464), which printed text hardly does
FIELDS = ("source", "rule", "interface", "event")  # what a record may be about, besides its process
FIELD_LIMIT = 100  # characters of one
FAINT, PLAIN = "\x1b[2m", "\x1b[0m"  # ECMA-48
COLOURS = {logging.DEBUG: FAINT, logging.INFO: "\x1b[32m", logging.WARNING: "\x1b[33m", logging.ERROR: "\x1b[1;31m"}


class ProcessHandler(MultiProcessingHandler):  # type: ignore[misc]  # the package has no types
    """The root logger's handler: in the coordinator it emits, in a child it writes to the child's log pipe."""

    def __init__(self, sub_handler: StderrHandler) -> None:
        """Emit through the sub-handler until `enter_child`."""
        logging.Handler.__init__(self)  # the base's own would make its queue and its thread
        self.sub_handler = sub_handler
        self._pipe: int | None = None
        self._dropped = 0

    def set_style(self, style: str) -> None:
        """Write `text`, for people, or `json`, one object a line, from now on."""
        self.sub_handler.style = style

    def enter_child(self, pipe: int) -> None:
        """Write to this descriptor from now on."""
        self._pipe = pipe

    def _send(self, record: logging.LogRecord) -> None:
        if self._pipe is None:
            self.sub_handler.emit(record)
            return
        if self._dropped and self._write(self._pipe, logging.WARNING, f"{self._dropped} log lines were dropped", {}):
            self._dropped = 0
        if not self._write(self._pipe, record.levelno, record.getMessage(), getattr(record, "fields", {})):
            self._dropped += 1

    @staticmethod
    def _write(pipe: int, level: int, text: str, fields: Fields) -> bool:
        # ASCII, at most twelve bytes for a character: cut once more where that is too long.
        for limit in (TEXT_LIMIT, LINE_LIMIT // 12 - 16):
            line = (
                MARK
                + json.dumps([level, escape(text, limit), {name: escape(value, FIELD_LIMIT) for name, value in fields.items()}])
                + "\n"
            ).encode()
            if len(line) <= LINE_LIMIT:
                break
        return write_if_ready(pipe, line)

    def close(self) -> None:
        """Close this handler; there is no queue to empty."""
        logging.Handler.close(self)


class StderrHandler(logging.Handler):
    """Writes to stderr without ever waiting for its reader.

    O_NONBLOCK would change the description that COMMAND and the terminal share, so a pipe or terminal is opened anew for it where
    that is allowed; else a poll before each write has to do.
    """

    def __init__(self) -> None:
        """Find out what stderr is."""
        super().__init__()
        self.style = "text"
        self._colour = False
        self._dropped = 0
        self._descriptor = 2
        try:
            mode = os.fstat(2).st_mode
            # https://no-color.org: whatever it is set to, if it is not empty.
            self._colour = os.isatty(2) and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"
            if stat.S_ISFIFO(mode) or (stat.S_ISCHR(mode) and os.isatty(2)):
                self._descriptor = os.open("/proc/self/fd/2", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            pass

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record as one line, or count it as dropped."""
        process, pid = getattr(record, "child", ("coordinator", os.getpid()))
        if self._dropped:
            text = f"{self._dropped} log lines were dropped: nobody read them"
            if self._write(logging.WARNING, "coordinator", os.getpid(), text, {"event": "lines-dropped"}):
                self._dropped = 0
        if not self._write(record.levelno, process, pid, record.getMessage(), getattr(record, "fields", {})):
            self._dropped += 1

    def _write(self, level: int, process: str, pid: int, text: str, fields: Fields) -> bool:
        if self.style == "json":
            line = _as_json(level, process, pid, text, fields)
        else:
            line = _as_text(level, process, pid, text, fields, colour=self._colour)
        return write_if_ready(self._descriptor, line)


class LineReader:
    """A child's log pipe, split into records."""

    def __init__(self) -> None:
        """Start with an empty line."""
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, str, Fields]]:
        """Take bytes; yield level, text and fields of each line that is whole, or longer than any may be. End of file: b""."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop() if data else b""
        if len(self._rest) > 2 * LINE_LIMIT:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            printed, mark, record = line.partition(MARK.encode())
            if printed.strip():
                yield logging.DEBUG, escape(printed.decode(errors="replace"), TEXT_LIMIT), {"event": "printed"}
            if mark:
                yield _parse(record)


def set_up(level: str) -> ProcessHandler:
    """Give the root logger its one handler; call once, before any fork."""
    handler = ProcessHandler(StderrHandler())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.raiseExceptions = False  # a log line that cannot be written must not become a traceback
    return handler


def emit(level: int, process: str, pid: int, text: str, fields: Fields) -> None:
    """Log a line that another process wrote."""
    root = logging.getLogger()
    if root.isEnabledFor(level):
        record = logging.LogRecord("disco", level, "", 0, text, None, None)
        record.child, record.fields = (process, pid), fields
        root.handle(record)


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
    """Return what a child says is a record, or what it wrote instead of one: it is not trusted."""
    try:
        level, text, fields = json.loads(record)
        if type(level) is int and isinstance(text, str) and isinstance(fields, dict) and fields.keys() <= set(FIELDS):
            return level, escape(text, TEXT_LIMIT), {name: escape(str(value), FIELD_LIMIT) for name, value in fields.items()}
    except (ValueError, TypeError, RecursionError):
        pass
    return logging.DEBUG, escape(record.decode(errors="replace"), TEXT_LIMIT), {"event": "printed"}


def _now() -> str:
    """Return the time as RFC 3339 has it."""
    now = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now * 1000) % 1000:03}Z"


def _as_text(level: int, process: str, pid: int, text: str, fields: Fields, *, colour: bool) -> bytes:  # noqa: PLR0913
    """Return a line for people; at DEBUG with the fields behind it, so that one source's or rule's whole story can be searched."""
    name = f"{logging.getLevelName(level):<7}"
    if colour:
        head = f"{FAINT}{_now()}{PLAIN} {COLOURS.get(level, '')}{name}{PLAIN} {FAINT}{process}[{pid}]{PLAIN} "
    else:
        head = f"{_now()} {name} {process}[{pid}] "
    if logging.getLogger().isEnabledFor(logging.DEBUG):
        text += "".join(f" {name}={value}" for name, value in fields.items() if name != "event")
    # Text from a child is one line already; the coordinator's own may hold several, each of which gets its head.
    lines = (head + line for line in text.split("\n"))
    return "\n".join(lines).encode(errors="backslashreplace")[: LINE_LIMIT - 1] + b"\n"


def _as_json(level: int, process: str, pid: int, text: str, fields: Fields) -> bytes:
    """Return one object on one line, for collectors; a field that does not apply is left out."""
    record = {"time": _now(), "level": logging.getLevelName(level), "process": process, "pid": pid}
    record |= {name: fields[name] for name in FIELDS if fields.get(name)}
    room = LINE_LIMIT - len(json.dumps(record)) - len(', "message": ""}\n')
    for limit in (room, room // 6, room // 12):  # an escape takes up to twelve bytes for a character
        line = json.dumps(record | {"message": text[:limit]}).encode() + b"\n"
        if len(line) <= LINE_LIMIT:
            break
    return line
