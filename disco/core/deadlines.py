"""The first of many deadlines, each of which lives in the state that it ends.

Invariant: of each item that has a deadline there is one entry, at that time or before.
"""

from __future__ import annotations

import heapq
from math import inf
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")


class Deadlines(Generic[T]):
    """Items by their deadlines: most are put off again and again, which costs nothing."""

    def __init__(self, deadline: Callable[[T], float | None]) -> None:
        """Hold nothing; deadline: from an item to when its state ends, None: not by time."""
        self._deadline = deadline
        self._heap: list[tuple[float, int, T]] = []
        self._entries: dict[T, float] = {}
        self._count = 0  # so that items themselves are never compared

    def note(self, item: T) -> None:
        """Take an item whose deadline is new, or earlier than it was."""
        time = self._deadline(item)
        if time is not None and time < self._entries.get(item, inf):
            self._count += 1
            self._entries[item] = time
            heapq.heappush(self._heap, (time, self._count, item))

    @property
    def first(self) -> float | None:
        """The nearest deadline."""
        while self._heap:
            time, _, item = self._heap[0]
            is_current = self._entries.get(item) == time  # else there is an earlier one, or it was that
            if is_current and self._deadline(item) == time:
                return time
            heapq.heappop(self._heap)
            if is_current:
                del self._entries[item]
                self.note(item)
        return None

    def due(self, now: float) -> Iterator[T]:
        """Yield the items whose time is up, the first one first; each has to get another deadline, or none, before the next."""
        while self.first is not None and self.first <= now:
            yield self._heap[0][2]
