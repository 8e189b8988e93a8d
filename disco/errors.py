"""Every way in which disco can end, the exceptions that lead there, and words for failures that are not disco's."""

from __future__ import annotations

import errno
import os
from enum import IntEnum
from typing import TYPE_CHECKING

from disco.named import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable


# The system has no more of something, which is no bug of disco.
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOSPC})
_EXEC = {
    errno.ENOEXEC: "not a program for this machine, or a script without a #! line",
    errno.E2BIG: "its arguments and the environment are too long for the system (ulimit -s; one of them: 128 KiB)",
    errno.EFBIG: "its input is larger than a file may be (ulimit -f)",
}


class ExitStatus(IntEnum):
    """Exit statuses of disco itself (sysexits.h and the shell's conventions); COMMAND's own is its own."""

    USAGE = 64
    UNAVAILABLE = 69  # disco.timeout passed, and a required source never gave a good answer
    HANDLER = 70  # a handler failed disco.fail_limit times in a row
    SYSTEM = 71  # a bug in disco, or the system failed it
    TIMEOUT = 75  # disco.timeout passed otherwise
    CONFIGURATION = 78
    CANNOT_EXECUTE = 126
    NOT_FOUND = 127
    SIGNALLED = 128  # plus the signal's number


class HandlerStatus(IntEnum):
    """Exit statuses of a shipped handler, besides USAGE."""

    FAILURE = 1
    DATA = 65  # its input is wrong: it cannot succeed before the data changes


class Problem(NamedTuple):
    """One thing that is wrong or doubtful: where (file:line:column, or a key), what, and what to do."""

    place: str
    message: str
    remedy: str = "correct it"

    def __str__(self) -> str:
        """Return it as one line."""
        return f"{self.place}: {self.message}; {self.remedy}"


class DiscoError(Exception):
    """Stop disco: the class knows the exit status, and each problem is one line for people."""

    status: ExitStatus | HandlerStatus = ExitStatus.SYSTEM

    def __init__(self, *problems: str | Problem) -> None:
        """Take the problems; none may hold a secret, or a value from a source."""
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


class UsageError(DiscoError):
    """The command line is wrong."""

    status = ExitStatus.USAGE


class HandlerError(DiscoError):
    """A shipped handler fails, and may succeed on the same data later."""

    status = HandlerStatus.FAILURE


class DataError(DiscoError):
    """A shipped handler's input is wrong."""

    status = HandlerStatus.DATA


class ConfigurationError(DiscoError):
    """Configuration, rules or schemas are wrong: all the problems found."""

    status = ExitStatus.CONFIGURATION
    problems: tuple[Problem, ...]

    def __init__(self, *problems: Problem) -> None:
        """Take the problems."""
        super().__init__(*problems)


class SystemFailure(DiscoError):  # noqa: N818 -- it is the system's failure, not one more error of ours
    """The operating system refused what disco cannot do without."""

    status = ExitStatus.SYSTEM


class CommandNotFoundError(DiscoError):
    """COMMAND is not there at exec."""

    status = ExitStatus.NOT_FOUND


class CommandNotExecutableError(DiscoError):
    """COMMAND is there, and cannot be executed."""

    status = ExitStatus.CANNOT_EXECUTE


class DocumentError(Exception):
    """A document cannot be used. It says where (line and column) and why, never what is written there."""

    def __init__(self, place: str, reason: str, remedy: str = "correct it") -> None:
        """Take the parts of a Problem."""
        super().__init__(f"{place}: {reason}")
        self.problem = Problem(place, reason, remedy)


class SourceError(Exception):
    """A backend cannot be read now; disco calls the source again later.

    The text is for people: it names the place and the reason, never a value, a credential or a URL's user part.
    """

    def __init__(self, reason: str, *, retry_after: float | None = None) -> None:
        """Take the reason, and the seconds that the server asked to wait (None: disco's own backoff)."""
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


class ProtocolError(Exception):
    """A peer sent something that is no message."""


def raise_problems(problems: Iterable[Problem]) -> None:
    """Raise one ConfigurationError of all the problems, if there are any."""
    found = tuple(problems)
    if found:
        raise ConfigurationError(*found)


def explain_exec(error: Exception) -> str:
    """Return why a program could not be executed, for people."""
    if isinstance(error, OSError) and error.errno in _EXEC:
        return _EXEC[error.errno]
    if isinstance(error, FileNotFoundError):
        return "No such file or directory: the program, or the interpreter of its #! line, or its C library's loader"
    if isinstance(error, PermissionError):
        return "Permission denied (chmod +x? a file system mounted noexec?)"
    if isinstance(error, ValueError):
        return "its arguments or environment hold what no program can be given (a NUL, or text that is not in the locale)"
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__


def explain_failure(error: Exception) -> str:
    """Return why a process of disco failed, for people. The exception's own text is left out: it may hold a value."""
    if isinstance(error, MemoryError):
        return "out of memory: give the container more"
    if isinstance(error, OSError) and error.errno in _EXHAUSTED:
        return f"the system failed disco: {os.strerror(error.errno)} ({place_of(error)}); raise the container's limits"
    return f"a bug in disco: {type(error).__name__} at {place_of(error)} (-l DEBUG shows more); please report it"


def place_of(error: BaseException) -> str:
    """Return the file and line in which an exception was raised."""
    at = error.__traceback__
    while at and at.tb_next:
        at = at.tb_next
    return f"{at.tb_frame.f_code.co_filename}:{at.tb_lineno}" if at else "?"
