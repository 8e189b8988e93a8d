"""What crosses a pipe: frozen messages, and their form on the wire.

A frame is `SIZES` (length of the header, length of the bodies), a JSON header and the bodies. A field of type `bytes`
or `Part` stands in the header as its length; the bodies follow in the same order. Nothing is pickled: a peer talks to backends
and handlers and is not trusted, so a frame is bounded and holds known fields of known types, or it is a ProtocolError.
"""

from __future__ import annotations

import json
import struct
from functools import cache
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

from disco.errors import ProtocolError

Part = bytes | memoryview  # received, it is part of its frame, and keeps that: for what lives no longer than its message
HEADER_LIMIT = 16 << 20
BODY_LIMIT = 160 << 20
SIZES = struct.Struct("!II")


class Fragment(NamedTuple):
    """What one source says of one interface.

    digest: of the canonical JSON. problems: why this fragment alone does not satisfy the schema. body: the canonical
    JSON object; empty where there is none that could be merged with other sources' (the problems say why).
    """

    digest: str
    problems: tuple[str, ...]
    body: bytes


class Diff(NamedTuple):
    """A source's news, to be applied atomically; an interface is always whole.

    first: this replaces all that an earlier process of the source said. unknown: up to 20 names that belong to no
    interface; unknown_count: how many there are. note: what people should know of the source although it answered.
    """

    first: bool
    changed: dict[str, Fragment]
    removed: tuple[str, ...]
    unknown: tuple[str, ...]
    unknown_count: int
    note: str = ""


class Trouble(NamedTuple):
    """A source could not read, and will try again by itself in retry_in seconds."""

    reason: str
    retry_in: float


class Alive(NamedTuple):
    """Still there. answered: the backend was heard too, and nothing is new."""

    answered: bool


class Check(NamedTuple):
    """Merge the bodies (a later one wins) and validate them as the interface."""

    task: int
    interface: str
    bodies: tuple[bytes, ...]


class Checked(NamedTuple):
    """The answer to a Check."""

    task: int
    digest: str
    problems: tuple[str, ...]
    body: bytes


class Run(NamedTuple):
    """Run a handler once; stdin is what it reads there, in parts (once received: views); timeout in seconds, 0 for none."""

    task: int
    rule: str
    argv: tuple[str, ...]
    env: dict[str, str]
    stdin: tuple[Part, ...]
    timeout: float


class Started(NamedTuple):
    """The handler of a Run has this pid, which is its process group and session too."""

    task: int
    pid: int


class Ran(NamedTuple):
    """How a Run ended.

    status: as os.waitstatus_to_exitcode gives it. problem: why it failed where the status does not say (else empty).
    tail: the last lines of its output. children: something that it started is still there.
    """

    task: int
    status: int
    problem: str
    tail: tuple[str, ...]
    seconds: float
    children: bool


Message = Diff | Trouble | Alive | Check | Checked | Run | Started | Ran
_TYPES: dict[str, type] = {kind.__name__: kind for kind in (Diff, Trouble, Alive, Check, Checked, Run, Started, Ran)}
_hints = cache(get_type_hints)


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


def decode(frame: bytes | bytearray) -> Message:
    """Return the message of a whole frame; raise ProtocolError for anything that is none."""
    view = memoryview(frame).toreadonly()
    try:
        header_size, _ = SIZES.unpack_from(frame)
        start = SIZES.size + header_size
        name, content = json.loads(bytes(view[SIZES.size : start]))
        bodies = _Bodies(view[start:])
        message = _unpack(_TYPES[name], content, bodies)
        bodies.finish()
    except (ValueError, TypeError, KeyError, RecursionError, struct.error) as error:
        reason = f"malformed message ({type(error).__name__})"
        raise ProtocolError(reason) from None
    return message  # type: ignore[no-any-return]  # _TYPES holds the members of Message


class _Bodies:
    """The bytes behind a header, handed out in order."""

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self._at = 0

    def take(self, size: int) -> memoryview:
        if size < 0 or size > len(self._view) - self._at:
            raise ValueError
        self._at += size
        return self._view[self._at - size : self._at]

    def finish(self) -> None:
        if self._at != len(self._view):
            raise ValueError


def _pack(value: Any, bodies: list[Part]) -> Any:  # noqa: ANN401 -- any field's value
    if isinstance(value, Part):
        bodies.append(value)
        return len(value)
    if isinstance(value, tuple):  # a message or a fragment too
        return [_pack(item, bodies) for item in value]
    if isinstance(value, dict):
        return {key: _pack(item, bodies) for key, item in value.items()}
    return value


def _unpack(kind: Any, value: Any, bodies: _Bodies) -> Any:  # noqa: ANN401 -- any field's type and value
    if kind in (bytes, Part):
        view = bodies.take(_unpack(int, value, bodies))
        return bytes(view) if kind is bytes else view
    if kind is Fragment or kind in _TYPES.values():
        hints = _hints(kind)
        if type(value) is not list:
            raise TypeError
        return kind(**{name: _unpack(hint, item, bodies) for (name, hint), item in zip(hints.items(), value, strict=True)})
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is tuple and type(value) is list:
        return tuple(_unpack(arguments[0], item, bodies) for item in value)
    if origin is dict and type(value) is dict:
        return {key: _unpack(arguments[1], item, bodies) for key, item in value.items()}
    if kind is float and type(value) in (float, int) and abs(value) < 1e15:  # noqa: PLR2004 -- neither NaN nor infinite
        return float(value)
    if kind is float or type(value) is not kind:
        raise TypeError
    return value
