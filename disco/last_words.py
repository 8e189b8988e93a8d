"""What disco prints of its own: answers on stdout, and on stderr why it ends. Neither waits for ever, whoever reads.

The exit status arrives in any case. There is no log yet, or no more, when this speaks; a signal may come at any moment.
"""

from __future__ import annotations

import os
import select
import signal
from typing import TYPE_CHECKING, NoReturn

from disco.errors import ExitStatus, SystemFailure
from disco.text import LINE_LIMIT, escape

if TYPE_CHECKING:
    from disco.people.log import StderrHandler

LAST_WORDS = 0.5  # seconds that their reader has

_log: list[StderrHandler] = []  # once it is set up; its style is the last words' too


def follow(handler: StderrHandler) -> None:
    """Print the last words in the log's style from now on."""
    _log.append(handler)


def leave(status: int, *reasons: str, trace: str = "") -> NoReturn:
    """Say why on stderr, and exit: within LAST_WORDS, whether that is read or not."""
    # A write that waits for its reader ends with the alarm, at the latest.
    signal.signal(signal.SIGALRM, lambda *_: os._exit(status))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    signal.setitimer(signal.ITIMER_REAL, LAST_WORDS)
    _complain("ERROR", "exit", *reasons, trace=trace)
    os._exit(status)


def note(text: str) -> None:
    """Say on stderr what people have to know of the answer that follows."""
    _complain("WARNING", "note", text)


def leave_at_start(number: int) -> NoReturn:
    """End at once because of a signal, while nothing is started that would have to be stopped."""
    leave(ExitStatus.SIGNALLED + number, f"{signal.Signals(number).name} received: nothing was started")


def leave_at_end(number: int) -> NoReturn:
    """End at once because of a signal, when all that was started has ended."""
    leave(ExitStatus.SIGNALLED + number, f"{signal.Signals(number).name} received: COMMAND was not started")


def answer(content: str | bytes, status: int = 0) -> NoReturn:
    """Write to stdout, which is nobody else's where COMMAND is not run, and exit; a reader that has gone has seen enough.

    Raises:
        SystemFailure: it cannot be written.

    """
    try:
        _write(1, content if isinstance(content, bytes) else content.encode(errors="backslashreplace"))
    except BrokenPipeError:
        pass
    except OSError as error:
        raise SystemFailure(f"cannot write to stdout: {error.strerror}") from None
    os._exit(status)


def _complain(level: str, event: str, *texts: str, trace: str = "") -> None:
    """Write lines to stderr, in the log's style if there is a log."""
    lines = [trace.encode(errors="backslashreplace"), *(f"disco: {escape(text, LINE_LIMIT)}\n".encode() for text in texts)]
    for handler in _log:
        if handler.style == "json":
            import logging  # noqa: PLC0415 -- there is a log, so it is imported; before that a signal may interrupt its import

            number = logging.getLevelNamesMapping()[level]
            lines = [handler.line(number, text, {"event": event}) for text in (trace, *texts) if text]
    try:
        _write(2, b"".join(lines))
    except OSError:
        pass


def _write(descriptor: int, content: bytes) -> None:
    """Write all of it, whether the descriptor blocks or not: whoever shares it decides that."""
    while content:
        try:
            content = content[os.write(descriptor, content) :]
        except BlockingIOError:
            select.select((), (descriptor,), ())
