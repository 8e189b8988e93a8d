"""The loop of a phase: what is to be done at which time, for as long as disco runs."""

from __future__ import annotations

import heapq
import itertools
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

LONGEST_SLEEP = 0.1  # seconds between two looks at what is waited for


class Loop:
    """A queue of functions by their time; they are called while something is waited for."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        """Have nothing to do yet; process: its end ends each wait."""
        self.late = 0.0  # seconds: the most that a function was called after its time
        self._process = process
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        """Call a function once, so many seconds from now."""
        heapq.heappush(self._queue, (time.monotonic() + seconds, next(self._count), do))

    def every(self, pause: float, do: Callable[[], None]) -> None:
        """Call a function again and again, with so many seconds between two calls."""

        def again() -> None:
            do()
            self.after(pause, again)

        self.after(pause, again)

    def clear(self) -> None:
        """Forget what is still to be done."""
        self._queue.clear()

    def wait(self, look: Callable[[], bool], seconds: float) -> bool:
        """Do what is due until `look` is true, the time has passed, or the process has ended; return what `look` is then."""
        deadline = time.monotonic() + seconds
        while not (result := look()) and (left := deadline - time.monotonic()) > 0:
            now = time.monotonic()
            if self._queue and self._queue[0][0] <= now:
                at, _, do = heapq.heappop(self._queue)
                self.late = max(self.late, now - at)
                do()
            else:
                time.sleep(max(0.0, min(left, self._queue[0][0] - now if self._queue else left, LONGEST_SLEEP)))
            if self._process.poll() is not None:
                return look()
        return result
