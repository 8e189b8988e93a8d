"""What a child does first, before it becomes a watcher, a runner or the checker; each of these is imported by its own process."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from typing import TYPE_CHECKING, TextIO

from disco.errors import explain_failure
from disco.named import NamedTuple
from disco.system import limits, process
from disco.wire import records
from disco.wire.channel import BlockingChannel, Channel

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

    from disco.data.schema import Schema
    from disco.sources import Context, Source

LOG_FD = 2
TICKS_FD = process.CHANNEL_FD + 1  # of a source

log = logging.getLogger(__name__)


class Job(NamedTuple):
    """What a source's process runs: the source, its context, and the watcher's two limits."""

    source: Source
    context: Context
    limits: tuple[float, float]


def enter(
    end: socket.socket, *, work: Callable[[socket.socket], None], descriptors: tuple[int, int], may_gain_rights: bool
) -> None:
    """Prepare this process and do its work with its end of the channel.

    descriptors: their soft and hard limit at disco's start. may_gain_rights: by setuid programs that it executes.
    """
    log_to(LOG_FD)
    limits.limit_descriptors(descriptors)
    process.adopt_orphans()  # what it leaves behind stays below it, and comes to the coordinator when it dies
    if not may_gain_rights:
        process.confine()
    # The interpreter's own print the text, which may hold a secret.
    sys.unraisablehook = _log_unraisable
    threading.excepthook = _log_uncaught
    warnings.showwarning = _log_warning
    log.debug("started")
    try:
        work(end)
    except Exception as error:
        log.error("%s", explain_failure(error))  # noqa: TRY400 -- its text may hold a secret
        raise


def run_watcher(end: socket.socket, job: Job, schemas: Mapping[str, Schema]) -> None:
    """Be a source's process."""
    from disco.workers import watcher  # noqa: PLC0415 -- only what a process needs

    watcher.report_cpu_time(TICKS_FD)
    watcher.run(job.source, job.context, schemas, BlockingChannel(end).send, job.limits)


def run_checker(end: socket.socket, schemas: Mapping[str, Schema]) -> None:
    """Be the checker."""
    from disco.workers import checker  # noqa: PLC0415 -- only what a process needs

    checker.run(BlockingChannel(end), schemas)


def run_runner(end: socket.socket) -> None:
    """Be a runner."""
    from disco.workers import runner  # noqa: PLC0415 -- only what a process needs

    runner.run(Channel(end))


def log_to(pipe: int) -> None:
    """Write all records to this descriptor from now on: another process logs them."""
    _set_handler(_FirstRecord(pipe))


def _set_handler(handler: logging.Handler) -> None:
    handler.addFilter(_is_ours)
    logging.getLogger().handlers[:] = [handler]


def _is_ours(record: logging.LogRecord) -> bool:
    """Return whether a record is logged at its level; what libraries log may hold anything, and is logged with DEBUG only."""
    return record.name.partition(".")[0] == "disco" or logging.getLogger().isEnabledFor(logging.DEBUG)


class _FirstRecord(logging.Handler):
    """The handler until there is a record, which most children never have: the real one takes long to import."""

    def __init__(self, pipe: int) -> None:
        super().__init__()
        self._pipe = pipe

    def emit(self, record: logging.LogRecord) -> None:
        try:
            from disco.wire.pipe_log import PipeHandler  # noqa: PLC0415 -- as the class says
        except Exception:  # noqa: BLE001 -- no memory or descriptor is left for it: a log line must not become an error
            line = records.encode(record.levelno, record.getMessage(), getattr(record, "fields", {}))
            records.write_if_ready(self._pipe, line)
            return
        handler = PipeHandler(self._pipe)
        _set_handler(handler)
        handler.emit(record)


def _log_unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    """Log the class of an exception that could not be raised (in a library's `__del__`, say)."""
    log.debug("%s was raised where nobody could catch it", unraisable.exc_type.__name__)


def _log_uncaught(uncaught: threading.ExceptHookArgs) -> None:
    """Log the class of an exception that ended a library's thread."""
    log.debug("%s ended a thread of a library's", uncaught.exc_type.__name__)


def _log_warning(  # noqa: PLR0913, PLR0917 -- the parameters of warnings.showwarning
    message: Warning | str,  # noqa: ARG001 -- it may hold a secret
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,  # noqa: ARG001 -- the log is the only place
    line: str | None = None,  # noqa: ARG001 -- it may hold a secret
) -> None:
    """Log the class of a warning, and where it comes from."""
    log.debug("%s at %s:%d", category.__name__, filename, lineno)
