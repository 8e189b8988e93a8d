"""What the coordinator reads of a child: its messages, its log, and the ticks of its CPU time.

A stream that brought more than a burst at once is paused: its writer has to wait, and nothing is lost.
"""

from __future__ import annotations

import os
from selectors import EVENT_READ, EVENT_WRITE
from typing import TYPE_CHECKING

from disco.core.events import MemoryExceeded, MessageReceived, ProtocolViolated
from disco.errors import ProtocolError
from disco.people import log
from disco.system.limits import resident_memory
from disco.wire.channel import CHUNK, Channel
from disco.wire.messages import BODY_LIMIT
from disco.wire.records import LineReader

if TYPE_CHECKING:
    from disco.core.events import ChildId, Event
    from disco.wire.records import Fields

BURST = 20  # messages or lines that are read at once without a pause
MESSAGES_A_SECOND, LINES_A_SECOND = 200.0, 1000.0  # beyond that
LINE_SIZE = 512  # bytes of log that count as one more line
LOG_CHUNK = 16 << 10  # bytes of log read at a time
LAST_LOG_LIMIT = 1 << 20  # bytes of log read of a child that has ended
TICK_PAUSE = 0.05  # seconds, at least, between two looks at one process's memory


class Stream:
    """A descriptor of a child's that is read in the loop."""

    __slots__ = ("descriptor", "eof", "resume_at")

    def __init__(self, descriptor: int) -> None:
        """Read from this descriptor."""
        self.descriptor = descriptor
        self.eof = False
        self.resume_at: float | None = None  # it is paused, and is not read before this time

    @property
    def interest(self) -> int:
        """What a selector is to wait for; 0 if for nothing."""
        return 0 if self.eof or self.resume_at is not None else EVENT_READ

    def serve(self, mask: int, now: float) -> list[Event]:
        """Do what the descriptor is ready for; return what came of it."""
        raise NotImplementedError

    def read_last(self) -> list[Event]:
        """Return what a dead child left to be read, up to a limit: a grandchild may keep the other end open."""
        return []

    def close(self) -> None:
        """Close the descriptor, once."""
        os.close(self.descriptor)

    def _pace(self, count: int, rate: float, now: float) -> None:
        """Pause if more than a burst came at once; rate: how many may come in a second."""
        if count > BURST:
            self.resume_at = now + count / rate


class Messages(Stream):
    """The messages of a child; each of a source's is an occasion to look at its memory."""

    __slots__ = ("_child", "_memory", "channel")

    def __init__(self, child: ChildId, channel: Channel, memory: Memory | None) -> None:
        """Own the channel."""
        super().__init__(channel.fileno())
        self.channel = channel
        self._child = child
        self._memory = memory

    @property
    def interest(self) -> int:
        """Input, and room while something is unsent."""
        return super().interest | (EVENT_WRITE if self.channel.unsent else 0)

    def serve(self, mask: int, now: float) -> list[Event]:
        """Send what fits; return the messages of one chunk."""
        events: list[Event] = []
        if mask & EVENT_WRITE:
            self.channel.flush()
        if mask & EVENT_READ:
            events = self._read(CHUNK)
            if self._memory:  # a library may have taken the ticks' signal for itself
                events += self._memory.look()
        self._pace(len(events), MESSAGES_A_SECOND, now)
        return events

    def read_arrived(self, now: float) -> list[Event]:
        """Return the messages that lie in the channel at this moment, even if it is paused."""
        if self.eof:
            return []
        events = self._read(self.channel.arrived())
        self._pace(len(events), MESSAGES_A_SECOND, now)
        return events

    def read_last(self) -> list[Event]:
        """Return the last messages."""
        return [] if self.eof else self._read(BODY_LIMIT)

    def close(self) -> None:
        """Close the channel."""
        self.channel.close()

    def _read(self, budget: int) -> list[Event]:
        events: list[Event] = []
        try:
            events.extend(MessageReceived(self._child, message) for message in self.channel.receive(budget))
            self.eof = self.channel.eof
        except ProtocolError as error:
            self.eof = True
            events.append(ProtocolViolated(self._child, str(error)))
        return events


class Log(Stream):
    """What a child writes to its stdout and stderr: records of its log, and what libraries print."""

    __slots__ = ("_child", "_lines", "_pid")

    def __init__(self, child: ChildId, pid: int, descriptor: int) -> None:
        """Own the descriptor, which does not block."""
        super().__init__(descriptor)
        self._child = child
        self._pid = pid
        self._lines = LineReader()

    def serve(self, mask: int, now: float) -> list[Event]:  # noqa: ARG002 -- it is only read
        """Log one chunk."""
        self._pace(self._copy(LOG_CHUNK), LINES_A_SECOND, now)
        return []

    def read_last(self) -> list[Event]:
        """Log the last lines."""
        self._copy(LAST_LOG_LIMIT)
        return []

    def _copy(self, limit: int) -> int:
        """Log up to so many bytes; return their number in lines, a long one counted as several."""
        count = 0
        while limit > 0 and not self.eof:
            try:
                data = os.read(self.descriptor, min(limit, LOG_CHUNK))
            except BlockingIOError:
                break
            except OSError:
                data = b""
            for level, text, fields in self._lines.feed(data):
                log.emit(level, self._child.name, self._pid, text, self._known_fields(fields))
                count += 1
            self.eof = not data
            limit -= len(data)
            count += len(data) // LINE_SIZE
        return count

    def _known_fields(self, fields: Fields) -> Fields:
        """Return what a record is about: of its fields those that the child can know, and no event of the coordinator's."""
        traits = self._child.kind.value
        known = {"source": self._child.name} if traits.has_backend else {}
        known |= {name: fields[name] for name in traits.may_name if name in fields}
        return known | ({"event": fields["event"]} if fields.get("event") in traits.may_tell else {})


class Ticks(Stream):
    """A byte for each bit of CPU time that a source has used: then its memory can have grown."""

    __slots__ = ("_memory",)

    def __init__(self, descriptor: int, memory: Memory) -> None:
        """Own the descriptor, which does not block."""
        super().__init__(descriptor)
        self._memory = memory

    def serve(self, mask: int, now: float) -> list[Event]:  # noqa: ARG002 -- it is only read
        """Look at the memory, and then not for a while."""
        try:
            self.eof = not os.read(self.descriptor, CHUNK)
        except BlockingIOError:
            pass
        self.resume_at = now + TICK_PAUSE
        return self._memory.look()


class Memory:
    """The memory of a source's process, and its limit in bytes."""

    __slots__ = ("_child", "_limit", "_pid")

    def __init__(self, child: ChildId, pid: int, limit: int) -> None:
        """Look at this process."""
        self._child = child
        self._pid = pid
        self._limit = limit

    def look(self) -> list[Event]:
        """Return the event that the process is over its limit, if it is."""
        return [MemoryExceeded(self._child, self._limit)] if resident_memory(self._pid) > self._limit else []
