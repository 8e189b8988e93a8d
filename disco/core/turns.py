"""Whose turn it is at the checker: the sources that contribute to an interface take turns, and some of them have to wait.

Invariant: an interface is in one queue, that of the sources which contributed to it last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

Sources = tuple[str, ...]


class Turns:
    """The interfaces that the checker is still to look at. One that changes again keeps its place, lest it come last for ever."""

    def __init__(self) -> None:
        """Have none."""
        self._queues: dict[Sources, dict[str, None]] = {}  # the queue whose turn it is comes first
        self._places: dict[str, Sources] = {}  # by interface: its queue
        self._waits: dict[str, float] = {}  # by source: the time before which nothing of it has its turn

    def add(self, interface: str, sources: Sources) -> None:
        """Let an interface have its turn, to which these sources contribute."""
        if self._places.get(interface) != sources:
            self.discard(interface)
            self._places[interface] = sources
            self._queues.setdefault(sources, {})[interface] = None

    def discard(self, interface: str) -> None:
        """Forget an interface, if it is there."""
        if sources := self._places.pop(interface, None):
            queue = self._queues[sources]
            del queue[interface]
            if not queue:
                del self._queues[sources]

    def put_off(self, sources: Sources, until: float) -> None:
        """Let these sources wait for their next turn."""
        self._waits |= dict.fromkeys(sources, until)

    def candidates(self, now: float) -> Iterator[str]:
        """Yield the interfaces in the order of their turns, those of waiting sources left out."""
        self._waits = {source: until for source, until in self._waits.items() if until > now}
        for sources, queue in self._queues.items():
            if self._waits.keys().isdisjoint(sources):
                yield from queue

    def may_have_turn(self, interface: str) -> bool:
        """Return whether none of an interface's sources has to wait, as of the last look at the candidates."""
        return self._waits.keys().isdisjoint(self._places.get(interface, ()))

    def end_turn(self, interface: str) -> None:
        """Let the sources of an interface, which has its turn, come last from now on."""
        sources = self._places[interface]
        self._queues[sources] = self._queues.pop(sources)
        self.discard(interface)

    @property
    def deadline(self) -> float | None:
        """When the first of the waiting sources may have its turn; None if no interface is there, or none has to wait."""
        return min(self._waits.values(), default=None) if self._places else None
