"""The form of messages on the wire: frames.

A frame is `SIZES` (length of the header, length of the bodies), a JSON header and the bodies. A field of type `bytes`
or `Part` stands in the header as its length; the bodies follow in the same order. A header is small, for the coordinator
parses it: a Diff of many interfaces is several frames. Nothing is pickled: a peer talks to backends and handlers and is not
trusted. So a frame is bounded and holds known fields of known types, or it is a ProtocolError.
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any, TypeAlias

from disco.errors import ProtocolError
from disco.text import PROBLEM_LIMIT
from disco.wire.messages import (
    ALL,
    BODY_LIMIT,
    DIFF_LIMIT,
    EXPORT_LIMIT,
    HEADER_LIMIT,
    INTERFACE_LIMIT,
    PROBLEM_COUNT,
    UNKNOWN_LIMIT,
    Diff,
    Fragment,
    Merged,
    Message,
    Part,
    RunFinished,
    digest,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SIZES = struct.Struct("!II")
Value: TypeAlias = Any  # of a header's, or of a message's field
_TYPES: dict[str, type] = {kind.__name__: kind for kind in ALL}


def split(message: Message) -> Iterator[list[Part]]:
    """Yield the frames of a message, each as its parts: one frame, but of a Diff as many as its header needs."""
    parts = encode(message)
    header, _ = SIZES.unpack_from(parts[0])
    if header <= HEADER_LIMIT or not isinstance(message, Diff) or len(message.changed) + len(message.removed) <= 1:
        yield parts
        return
    changed, removed = list(message.changed.items()), message.removed
    half, cut = -(-len(changed) // 2), len(removed) // 2  # so that neither part is empty
    yield from split(message._replace(changed=dict(changed[:half]), removed=removed[:cut], more=True))
    yield from split(message._replace(changed=dict(changed[half:]), removed=removed[cut:]))


class FrameReader:
    """Bytes in, messages out, however the bytes were split."""

    __slots__ = ("_buffer", "_joiner", "_kinds")

    def __init__(self, kinds: frozenset[type] = ALL) -> None:
        """Start empty; messages of other kinds are none."""
        self._kinds = kinds
        self._buffer = bytearray()
        self._joiner: DiffJoiner | None = None  # while a Diff comes in parts

    def feed(self, data: bytes) -> Iterator[Message]:
        """Take bytes and yield each message that is whole now; raise ProtocolError for what is none."""
        self._buffer += data
        while (size := frame_size(self._buffer)) is not None and len(self._buffer) >= size:
            if size == len(self._buffer):
                frame, self._buffer = self._buffer, bytearray()  # no copy of the common case
            else:
                frame = self._buffer[:size]
                del self._buffer[:size]
            message: Message | None = decode(frame, self._kinds)
            del frame  # it may be large
            if isinstance(message, Diff):
                joiner = self._joiner or DiffJoiner()
                message = joiner.join(message)
                self._joiner = None if message else joiner
            if message is not None:
                yield message


def encode(message: Message) -> list[Part]:
    """Return the frame of a message as its parts: sizes and header, then each body."""
    bodies: list[Part] = []
    header = json.dumps([type(message).__name__, _pack(message, bodies)], separators=(",", ":")).encode()
    return [SIZES.pack(len(header), sum(map(len, bodies))) + header, *bodies]


def frame_size(start: bytes | bytearray) -> int | None:
    """Return the whole length of the frame that starts so, None while unknown; raise ProtocolError over a limit."""
    if len(start) < SIZES.size:
        return None
    header, body = SIZES.unpack_from(start)
    if header > HEADER_LIMIT or body > BODY_LIMIT:
        message = f"a frame of {header} + {body} bytes is over the limit"
        raise ProtocolError(message)
    return int(SIZES.size + header + body)


def decode(frame: bytes | bytearray, kinds: frozenset[type] = ALL) -> Message:
    """Return the message of a whole frame; raise ProtocolError for anything that is none, or not of these kinds."""
    view = memoryview(frame).toreadonly()
    try:
        header_size, _ = SIZES.unpack_from(frame)
        start = SIZES.size + header_size
        name, content = json.loads(bytes(view[SIZES.size : start]))
        kind = _TYPES[name]
        if kind not in kinds:
            raise ProtocolError(f"an unexpected {name}")
        bodies = _Bodies(view[start:])
        message = _read_tuple(kind, content, bodies)
        bodies.finish()
    except (ValueError, TypeError, KeyError, RecursionError, struct.error) as error:
        reason = f"malformed message ({type(error).__name__})"
        raise ProtocolError(reason) from None
    return message  # type: ignore[no-any-return]  # _TYPES holds the members of Message


class DiffJoiner:
    """The parts of one Diff that were received, until the last one is."""

    __slots__ = ("_changed", "_removed", "_size")

    def __init__(self) -> None:
        """Hold none."""
        self._changed: dict[str, Fragment] = {}
        self._removed: list[str] = []
        self._size = 0

    def join(self, part: Diff) -> Diff | None:
        """Return the whole Diff, None while parts of it are to come; raise ProtocolError if it is too large."""
        if part.more and not (part.changed or part.removed):
            raise ProtocolError("an empty part of a diff")
        self._changed |= part.changed
        self._removed += part.removed
        self._size += sum(len(fragment.body) + len(fragment.filled) for fragment in part.changed.values())
        many = len(self._changed) + len(self._removed)
        if many > 2 * INTERFACE_LIMIT or self._size > DIFF_LIMIT:
            raise ProtocolError(f"a diff of {many} interfaces and {self._size} bytes, which is over the limit")
        if part.more:
            return None
        return part._replace(changed=self._changed, removed=tuple(self._removed))


class _Bodies:
    """The bytes behind a header, handed out in order."""

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self._at = 0

    def take(self, size: Value) -> memoryview:
        if type(size) is not int or size < 0 or size > len(self._view) - self._at:
            raise ValueError
        self._at += size
        return self._view[self._at - size : self._at]

    def finish(self) -> None:
        if self._at != len(self._view):
            raise ValueError


def _pack(value: Value, bodies: list[Part]) -> Value:
    if isinstance(value, Part):
        bodies.append(value)
        return len(value)
    if isinstance(value, tuple):  # a message or a fragment too
        return [_pack(item, bodies) for item in value]
    if isinstance(value, dict):
        return {key: _pack(item, bodies) for key, item in value.items()}
    return value


def _plain(value: Value, kind: type) -> Value:
    if type(value) is not kind:
        raise TypeError
    return value


def _read_int(value: Value, _bodies: _Bodies) -> int:
    if type(value) is not int or abs(value) >= 1 << 63:
        raise TypeError
    return value


def _read_float(value: Value, _bodies: _Bodies) -> float:
    if type(value) not in (float, int) or not abs(value) < 1e15:  # noqa: PLR2004 -- neither NaN nor infinite
        raise TypeError
    return float(value)


def _read_texts(value: Value, _bodies: _Bodies) -> tuple[str, ...]:
    if type(value) is not list or not set(map(type, value)) <= {str}:
        raise TypeError
    return tuple(value)


def _read_fragments(value: Value, bodies: _Bodies) -> dict[str, Fragment]:
    return {name: _read_tuple(Fragment, item, bodies) for name, item in _plain(value, dict).items()}


def _read_tuple(kind: Value, value: Value, bodies: _Bodies) -> Value:
    """Return the message, or fragment, whose fields' values are in a list."""
    fields = kind.__annotations__.values()
    if type(value) is not list or len(value) != len(fields):
        raise TypeError
    message = kind(*[_READERS[field](item, bodies) for field, item in zip(fields, value, strict=True)])
    if check := _CHECKS.get(kind):
        check(message)
    return message


# By the annotation of a field, as it is written: what makes its value of a header's, and of the bodies that this stands for. It
# raises TypeError or ValueError where that is none. `typing` would take a millisecond to say what these texts mean.
_READERS: dict[str, Callable[[Value, _Bodies], Value]] = {
    "str": lambda value, _bodies: _plain(value, str),
    "bool": lambda value, _bodies: _plain(value, bool),
    "int": _read_int,
    "float": _read_float,
    "bytes": lambda value, bodies: bytes(bodies.take(value)),
    "Part": lambda value, bodies: bodies.take(value),
    "tuple[str, ...]": _read_texts,
    "tuple[bytes, ...]": lambda value, bodies: tuple([bytes(bodies.take(size)) for size in _plain(value, list)]),
    "tuple[Part, ...]": lambda value, bodies: tuple([bodies.take(size) for size in _plain(value, list)]),
    "dict[str, Fragment]": _read_fragments,
}


def _check_verdict(verdict: Fragment | Merged) -> None:
    # A digest decides which data a rule succeeded on, and which bodies are the same.
    if verdict.body and verdict.digest != digest(verdict.body):
        raise ProtocolError("a digest that is not its body's")
    if len(verdict.problems) > PROBLEM_COUNT or any(len(problem) > PROBLEM_LIMIT + 1 for problem in verdict.problems):
        raise ProtocolError(f"more than {PROBLEM_COUNT} problems of one interface, or one of more than {PROBLEM_LIMIT} characters")
    if isinstance(verdict, Fragment) and not verdict.is_judged and (verdict.problems or verdict.filled or not verdict.body):
        raise ProtocolError("a fragment without a verdict that has one, or nothing to judge")


def _check_diff(diff: Diff) -> None:
    if len(diff.unknown) > UNKNOWN_LIMIT:
        raise ProtocolError(f"more than {UNKNOWN_LIMIT} unknown names")


def _check_finished(result: RunFinished) -> None:
    if len(result.exported) > EXPORT_LIMIT:
        raise ProtocolError(f"more than {EXPORT_LIMIT} bytes of exported variables")


_CHECKS: dict[type, Callable[[Any], None]] = {
    Fragment: _check_verdict,
    Merged: _check_verdict,
    Diff: _check_diff,
    RunFinished: _check_finished,
}
