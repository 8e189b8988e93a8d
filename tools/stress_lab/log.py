"""The log of disco, read as it comes."""

from __future__ import annotations

import os
import re
import threading
from collections import Counter, deque

LOG_KEPT = 4 << 20  # bytes of disco's log that are kept


class Log(threading.Thread):
    """Reads disco's log as it comes: the children's names by pid; only the log's end is kept.

    A thread, as disco drops what nobody reads.
    """

    STARTED = re.compile(rb" ([\w./-]+)\[(\d+)\] .*started(?: \w+=\S+)*$", re.MULTILINE)

    def __init__(self, descriptor: int) -> None:
        """Read from a pipe's end until its end of file; it is closed then."""
        super().__init__(daemon=True)
        self.names: dict[int, str] = {}
        self.started: Counter[str] = Counter()
        self.size = 0
        self.dropped = 0
        self._tail: deque[bytes] = deque()
        self._kept = 0
        self._descriptor = descriptor
        self.start()

    def run(self) -> None:
        """Read."""
        rest = b""
        while data := os.read(self._descriptor, 1 << 16):
            self.size += len(data)
            self._kept += len(data)
            self._tail.append(data)
            while self._kept > LOG_KEPT:
                self._kept -= len(self._tail.popleft())
            text, newline, rest = (rest + data).rpartition(b"\n")
            rest = rest[-4096:]
            if newline:
                for name, pid in self.STARTED.findall(text):
                    self.names[int(pid)] = name.decode()
                    self.started[name.decode()] += 1
                self.dropped += text.count(b"log lines were dropped")
        os.close(self._descriptor)

    @property
    def tail(self) -> bytes:
        """Return the end of the log."""
        return b"".join(self._tail)
