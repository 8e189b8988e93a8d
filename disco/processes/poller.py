"""What the coordinator waits on: the wakeup pipe of its signals, and the streams of its children that are not paused."""

from __future__ import annotations

import selectors
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from disco.processes.streams import Stream


class Poller:
    """A selector that knows which streams are paused, and until when."""

    def __init__(self, wakeup: int) -> None:
        """Wait on this descriptor too, which only wakes."""
        self._selector = selectors.DefaultSelector()
        self._selector.register(wakeup, selectors.EVENT_READ)
        self._paused: dict[Stream, None] = {}

    @property
    def resume_at(self) -> float | None:
        """When the first paused stream is to be read again."""
        return min((stream.resume_at for stream in self._paused if stream.resume_at is not None), default=None)

    def wait(self, timeout: float | None) -> list[tuple[Stream, int]]:
        """Wait so many seconds (None: without end) for something to be ready; return the ready streams, and for what they are."""
        return [(key.data, mask) for key, mask in self._selector.select(timeout) if key.data is not None]

    def find_unread(self) -> list[Stream]:
        """Return the streams that may have something to be read at this moment: the ready ones, and the paused ones."""
        return list(dict.fromkeys([*(stream for stream, _ in self.wait(0)), *self._paused]))

    def update(self, stream: Stream) -> None:
        """Wait for what a stream is interested in from now on."""
        if stream.resume_at is not None:
            self._paused[stream] = None
        interest = stream.interest
        key = self._selector.get_map().get(stream.descriptor)
        if key is None and interest:
            self._selector.register(stream.descriptor, interest, stream)
        elif key is not None and not interest:
            self._selector.unregister(stream.descriptor)
        elif key is not None and key.events != interest:
            self._selector.modify(stream.descriptor, interest, stream)

    def resume(self, now: float) -> None:
        """End the pauses whose time has come."""
        for stream in [stream for stream in self._paused if stream.resume_at is None or stream.resume_at <= now]:
            del self._paused[stream]
            stream.resume_at = None
            self.update(stream)

    def forget(self, stream: Stream) -> None:
        """Wait for nothing of a stream any more: before it is closed."""
        self._paused.pop(stream, None)
        if stream.descriptor in self._selector.get_map():
            self._selector.unregister(stream.descriptor)
