"""Framed messages over one end of a socket pair.

`Channel` is the coordinator's (and the runner's) end: it never blocks, and never reads more than asked at a time.
`BlockingChannel` is the end of a child that has nothing else to wait for: it blocks. End of file means that the other side is
dead.
"""

from __future__ import annotations

import fcntl
import termios
from array import array
from typing import TYPE_CHECKING

from disco.wire import frames
from disco.wire.messages import ALL

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from disco.wire.messages import Message

CHUNK = 256 << 10  # bytes read at a time
PARTS_AT_ONCE = 1024  # written at a time: what the kernel takes (UIO_MAXIOV)


class Channel:
    """A non-blocking end: read a bounded amount when readable, write what fits when writable."""

    __slots__ = ("_end", "_outbox", "_reader", "eof")

    def __init__(self, end: socket.socket, kinds: frozenset[type] = ALL) -> None:
        """Own the socket from now on; what is received is of these kinds."""
        end.setblocking(False)
        self._end = end
        self._reader = frames.FrameReader(kinds)
        self._outbox: list[memoryview] = []
        self.eof = False

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._end.fileno()

    def receive(self, budget: int = CHUNK) -> Iterator[Message]:
        """Yield the messages of at most `budget` bytes that are there now; set `eof` at the end of file.

        Raises:
            ProtocolError: what came is no message; the channel is of no more use.

        """
        while budget > 0 and not self.eof:
            try:
                data = self._end.recv(min(budget, CHUNK))
            except BlockingIOError:
                return
            except OSError:  # reset: the peer died with our bytes unread
                data = b""
            if not data:
                self.eof = True
                return
            budget -= len(data)
            yield from self._reader.feed(data)

    def arrived(self) -> int:
        """Return how many bytes can be read now; at least 1, so that an end of file is seen."""
        count = array("i", [0])
        fcntl.ioctl(self._end, termios.FIONREAD, count)
        return max(1, count[0])

    def send(self, message: Message) -> None:
        """Queue a message and write what fits. The protocol bounds the queue: at most one request is outstanding."""
        self._outbox += (memoryview(part) for frame in frames.split(message) for part in frame if part)
        self.flush()

    def flush(self) -> None:
        """Write what fits now. A dead peer is seen by `eof`, not here."""
        while self._outbox:
            try:
                written = self._end.sendmsg(self._outbox[:PARTS_AT_ONCE])
            except BlockingIOError:
                return
            except OSError:
                self._outbox.clear()
                return
            whole = 0
            while whole < len(self._outbox) and written >= len(self._outbox[whole]):
                written -= len(self._outbox[whole])
                whole += 1
            del self._outbox[:whole]
            if written:
                self._outbox[0] = self._outbox[0][written:]

    @property
    def unsent(self) -> bool:
        """Whether something waits for the other side to read."""
        return bool(self._outbox)

    def close(self) -> None:
        """Close this end."""
        self._end.close()


class BlockingChannel:
    """A blocking end, for a child whose only business it is."""

    def __init__(self, end: socket.socket) -> None:
        """Own the socket from now on."""
        end.setblocking(True)
        self._end = end
        self._reader = frames.FrameReader()

    def send(self, message: Message) -> None:
        """Write a whole message, waiting as long as the coordinator needs (backpressure, not loss)."""
        for frame in frames.split(message):
            for part in frame:
                if part:
                    self._end.sendall(part)

    def receive(self) -> Iterator[Message]:
        """Yield messages until the end of file.

        Raises:
            ProtocolError: what came is no message.

        """
        while data := self._end.recv(CHUNK):
            yield from self._reader.feed(data)
