"""Frames: room for those of Python's functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

# Words (8 bytes) of a frame, chosen so that the chunk of twice as many that it is given has as much left for other frames.
_WORDS = 1 << 15


def run_with_room(work: Callable[[], NoReturn]) -> NoReturn:
    """Run a function, and all that it calls, in one large piece of memory, also in this process's forks.

    CPython (gh-142183; up to some 3.13) keeps the frames of functions in chunks of 16 KiB, and unmaps one as soon as the first
    frame in it ends. A loop that happens to call its functions across the end of a chunk maps and unmaps memory each time: that
    alone made an import of Consul's client 20 ms slower. What this frame itself takes is never touched.
    """
    work()


run_with_room.__code__ = run_with_room.__code__.replace(co_stacksize=_WORDS)
