"""Time in a source: how often it may ask, how long one request may take, and how long one step."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from disco.errors import SourceError
from disco.system.limits import Overrun, time_limit
from disco.text import duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BURST, PAUSE = 2, 1.0  # requests at once, and seconds for each further one
JITTER = 17 / 16  # Consul adds up to a sixteenth to `wait`, so that its clients do not return all at once


class Pace:
    """A token bucket: BURST requests at once, then one each PAUSE seconds (each `interval`, if that is less).

    It limits the requests to a store that changes all the time, or to a server that does not block. A fixed pause would delay
    each single change.
    """

    def __init__(self, interval: float) -> None:
        """Begin with a full bucket."""
        self._pause = min(interval, PAUSE)
        self._due = 0.0

    def wait(self) -> None:
        """Sleep until the next request may be made."""
        now = time.monotonic()
        self._due = max(self._due, now - self._pause * (BURST - 1))
        time.sleep(max(0.0, self._due - now))
        self._due += self._pause


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Limit a whole request, whatever its library does: raise SourceError in the body of a `with` after so many seconds.

    It works in the main thread only, where generators run. A call into C is interrupted when it returns.
    """
    try:
        with time_limit(seconds):
            yield
    except Overrun:
        raise SourceError(f"no answer within {duration(seconds)}") from None


def limit_step(options: Mapping[str, Any], interval: float) -> float:
    """Return how long (seconds) a step without a blocking query may take: two requests and one pause."""
    return float(2 * options["timeout"] + interval)


def limit_blocking_step(options: Mapping[str, Any], interval: float) -> float:
    """Return how long (seconds) a step with a blocking query may take, which lasts `wait` and the server's jitter."""
    return limit_step(options, interval) + float(options["wait"]) * JITTER
