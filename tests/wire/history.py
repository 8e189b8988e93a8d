"""Messages, and their bytes, for the tests of the wire."""

from __future__ import annotations

import json
from typing import Any

from disco.wire import frames, messages
from disco.wire.frames import SIZES
from disco.wire.messages import Diff, Fragment, Heartbeat, Merge, Message, ReadFailed


def fragment(body: bytes, *problems: str, filled: bytes = b"") -> Fragment:
    return Fragment(digest=messages.digest(body) if body else "d", problems=problems, body=body, filled=filled)


CHECK = Merge(task=7, interface="a", bodies=(b"", b"one", b"\0\xff" * 9))
HISTORY: list[Message] = [Heartbeat(answered=True), CHECK, ReadFailed(reason="r\n\ud800", retry_in=0.5), Heartbeat(answered=False)]


def wire(message: Message) -> bytes:
    return b"".join(frames.encode(message))


def frame(content: Any, bodies: bytes = b"") -> bytes:
    header = content if isinstance(content, bytes) else json.dumps(content).encode()
    return SIZES.pack(len(header), len(bodies)) + header + bodies


def diff(count: int, *problems: str, body: bytes = b"{}", removed: int = 0) -> Diff:
    """Return a diff of so many interfaces with names of 100 characters."""
    names = (f"{number:0100}" for number in range(removed))
    return Diff(True, {f"{n:x>100}": fragment(body, *problems) for n in range(count)}, tuple(names), ("a",), 1, "note")
