"""Shipped handlers: programs that every site needs. A rule names one like any other handler: `do: disco-wait tcp://db:5432`.

A shipped handler is a module with a function `main(argv)`. argv: the words after the program's name. It reads its input (one JSON
object) from stdin, prints messages on stderr, one line each, and returns its exit status. It raises DiscoError for what people are
to know. No message may hold a value of the input. The module's USAGE is what `-h` prints.

The module has `find_problems(argv, interfaces, timeout)` too, for `disco --check`: without any input it yields, as `Finding`s,
what is wrong or doubtful with the words of a rule. What it raises is wrong as well. interfaces: those that the rule names.
timeout: the seconds that a run may take; 0: no limit.

A runner forks itself and calls the function (`workers.shipped`): that saves the start of a Python. By hand the same function is a
command of the distribution (`handlers.commands`). A module imports late whatever not every call of it needs.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

from disco.errors import DiscoError, HandlerStatus, place_of
from disco.named import NamedTuple
from disco.text import LINE_LIMIT, escape

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SHIPPED = {
    "disco-env": "disco.handlers.env",
    "disco-render": "disco.handlers.render",
    "disco-wait": "disco.handlers.wait",
}


class Finding(NamedTuple):
    """What `disco --check` says of a shipped handler's words, and the remedy. is_error: no run of it can succeed."""

    message: str
    remedy: str
    is_error: bool = False


def find_problems(name: str, argv: Sequence[str], interfaces: Sequence[str], timeout: float) -> Iterator[Finding]:
    """Yield what a shipped handler finds wrong or doubtful with the words of a rule; interfaces, timeout: as above."""
    try:
        yield from import_module(SHIPPED[name]).find_problems(list(argv), interfaces, timeout)
    except DiscoError as error:
        yield from (Finding(str(problem), "correct the rule", is_error=True) for problem in error.problems)


def run(name: str, argv: Sequence[str]) -> NoReturn:
    """Be a shipped handler: call its function, print why it failed, and end this process with its status.

    It ends by `os._exit` alone: nothing that an earlier owner of this process has registered may run.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no KeyboardInterrupt's traceback
    # The interpreter's own print texts, which may hold a value; so do warnings.
    sys.unraisablehook = threading.excepthook = _ignore
    warnings.simplefilter("ignore")
    status: int = HandlerStatus.FAILURE
    try:
        _open_streams()
        status = _call(name, argv)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException as error:  # noqa: BLE001 -- the outermost boundary of a process
        status = HandlerStatus.FAILURE
        _print(f"{name}: {_explain(error)}")
    finally:
        os._exit(status)


def _call(name: str, argv: Sequence[str]) -> int:
    try:
        module = import_module(SHIPPED[name])
        if {"-h", "--help"} & set(argv):
            sys.stdout.write(module.USAGE)
            return 0
        status: int = module.main(list(argv))
    except DiscoError as error:
        _print(*(f"{name}: {problem}" for problem in error.problems))
        status = error.status
    return status


def _open_streams() -> None:
    """Let stdin, stdout and stderr be the descriptors 0 to 2, in UTF-8 whatever the locale is.

    Python's own may be of an earlier program, or None. A closed descriptor is opened: else the next file would get its number.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115 -- descriptors
    sys.stdout = open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115 -- as above
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115 -- as above


def _ignore(_uncaught: object) -> None:
    pass


def _explain(error: BaseException) -> str:
    """Return why a handler failed. The exception's own text is left out: it may hold a value."""
    if isinstance(error, MemoryError):
        return "out of memory: give the container more"
    if isinstance(error, BrokenPipeError):
        return "nobody reads its output"
    if isinstance(error, OSError) and error.errno:
        return f"{os.strerror(error.errno)} ({place_of(error)})"
    return f"a bug in disco: {type(error).__name__} at {place_of(error)}; please report it"


def _print(*lines: str) -> None:
    """Print lines on stderr, if that is still possible."""
    try:
        os.write(2, "".join(f"{escape(line, LINE_LIMIT)}\n" for line in lines).encode(errors="backslashreplace"))
    except OSError:
        pass
