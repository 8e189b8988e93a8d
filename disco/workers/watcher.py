"""The process around a source: limit each step, hand snapshots to the sender, retry after errors.

May import client libraries only through the source that it runs; never the coordinator's modules.
"""

from __future__ import annotations

import gc
import logging
import signal
import time
from collections.abc import Generator
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

from disco.errors import SourceError, place_of
from disco.system import chance
from disco.system.backoff import FIRST, LAST, backoff
from disco.system.limits import Overrun, time_limit
from disco.text import duration
from disco.wire.messages import Heartbeat
from disco.workers.sender import WELL_STEPS, DiffSender

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from disco.data.schema import Schema
    from disco.sources import Context, Source
    from disco.wire.messages import Message

RETRY_AFTER_LIMIT = 60.0  # seconds; a server that asks for more is asked again all the same
SPREAD = 1.25  # how much longer than a server asked for: it gives a whole fleet the same answer
MEMORY_LOOK = 0.05  # seconds of CPU time between looks at the memory
MARGIN = 1.0  # seconds by which a step may outlast its limit before it is interrupted

log = logging.getLogger(__name__)


def run(
    source: Source,
    context: Context,
    schemas: Mapping[str, Schema],
    send: Callable[[Message], None],
    limits: tuple[float, float],
) -> None:
    """Watch for ever: send a `Diff` for news, `Heartbeat` for none, `ReadFailed` for errors.

    limits: seconds that one step may take, and seconds of silence after which the coordinator waits for a heartbeat.
    """
    # Until a second step is over: what a client library makes at its import stays, and to look at that takes up to 8 ms. A start
    # needs one step.
    gc.disable()
    step, silence = limits
    sender = DiffSender(source, schemas, context.interfaces, send, silence)
    context = context._replace(note=sender.note, properties=partial(_find_properties, schemas))
    send(Heartbeat(answered=False))
    errors = 0
    while True:
        retry_after = None
        good, good_since = 0, 0.0  # steps of this call
        sender.note("")  # like all else, a note does not outlive the call
        try:
            with closing(_steps(source.watch(context), step + MARGIN)) as steps:
                for snapshot in steps:
                    sender.publish(snapshot)
                    good, good_since = good + 1, good_since or time.monotonic()
                    if good >= WELL_STEPS:
                        gc.enable()
            reason = "the source ended by itself"
        except SourceError as error:
            reason, retry_after = error.reason, error.retry_after
        except Overrun:
            reason = f"no complete answer within {duration(step)}"
        except (Exception, SystemExit) as error:  # noqa: BLE001 -- a client library may raise anything; its text may hold secrets
            reason = f"the client library raised {type(error).__name__} (-l DEBUG shows where)"
            log.debug("%s raised at %s", type(error).__name__, place_of(error))
        # A backend may answer the first question of each call, and no other.
        if good >= WELL_STEPS or (good and time.monotonic() - good_since >= LAST):
            errors = 0
        retry_in = choose_pause(errors, retry_after)
        errors += 1
        sender.report_failure(reason, retry_in)
        gc.enable()
        gc.collect()  # frames hold clients, and clients connections: what this call left in circles goes before the next one
        time.sleep(retry_in)


def _find_properties(schemas: Mapping[str, Schema], path: Sequence[str]) -> frozenset[str]:
    interface, *keys = path
    return schemas[interface].properties(keys) if interface in schemas else frozenset()


def report_cpu_time(descriptor: int) -> None:
    """Have a byte written to a non-blocking descriptor each time that this process has used some CPU time.

    So the coordinator looks at its memory when it can have grown, and only then. The interpreter's C code writes the byte when
    the timer's signal arrives, also while a library's C code runs. A handler in Python would have to wait for that. A limit of the
    address space is of no use here: gRPC alone maps half a gigabyte.
    """
    signal.signal(signal.SIGPROF, lambda *_: None)
    signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)
    signal.setitimer(signal.ITIMER_PROF, MEMORY_LOOK, MEMORY_LOOK)


def choose_pause(errors: int, retry_after: float | None) -> float:
    """Return seconds to wait after so many earlier errors in a row, or those that the server asked for and up to a quarter more."""
    if retry_after is None:
        return backoff(errors, chance.share())
    return min(max(retry_after, FIRST), RETRY_AFTER_LIMIT) * chance.between(1, SPREAD)


def _steps(source: Iterator[Mapping[str, Any]], limit: float) -> Generator[Mapping[str, Any], None, None]:
    """Yield from a source, each of its steps interrupted at the limit; close it when this one is closed."""
    try:
        while True:
            with time_limit(limit):
                try:
                    snapshot = next(source)
                except StopIteration:
                    return
            yield snapshot
    finally:
        try:
            with time_limit(limit):
                if isinstance(source, Generator):
                    source.close()
        except Exception as error:  # noqa: BLE001 -- why it was closed is what counts
            log.debug("%s raised at %s while the source was closed", type(error).__name__, place_of(error))
