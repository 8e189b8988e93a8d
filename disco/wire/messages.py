"""What crosses a pipe: frozen messages, and their form on the wire.

A frame is `SIZES` (length of the header, length of the bodies), a JSON header and the bodies. A field of type `bytes`
or `Part` stands in the header as its length; the bodies follow in the same order. A header is small, for the coordinator
parses it: a Diff of many interfaces is several frames. Nothing is pickled: a peer talks to backends and handlers and is not
trusted, so a frame is bounded and holds known fields of known types, or it is a ProtocolError.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, get_args, get_origin, get_type_hints

try:
    from _blake2 import blake2b  # as the standard library's `random` takes its hash: hashlib loads all of OpenSSL first
except ImportError:
    from hashlib import blake2b

from disco.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterator

Part = bytes | memoryview  # received, it is part of its frame, and keeps that: for what lives no longer than its message
HEADER_LIMIT = 256 << 10
BODY_LIMIT = 160 << 20
# Of one Diff, in however many frames. A source is held to less: its text may grow as it is decoded (1e15 to 1000000000000000).
DIFF_LIMIT = 64 << 20  # bytes of bodies
INTERFACE_LIMIT = 20_000  # that a source has; there may be as many that it had
UNKNOWN_LIMIT = 20  # names
PROBLEM_LIMIT, PROBLEM_LENGTH = 21, 300  # problems of one interface, and characters of each
SIZES = struct.Struct("!II")


class Fragment(NamedTuple):
    """What one source says of one interface.

    digest: `digest(body)`, or, where there is no body, whatever stands for what cannot be sent. problems: why this fragment
    alone does not satisfy the schema. body: the canonical JSON object; empty where there is none that could be merged with
    other sources' (the problems say why).
    """

    digest: str
    problems: tuple[str, ...]
    body: bytes


class Diff(NamedTuple):
    """A source's news, to be applied atomically; an interface is always whole.

    first: this replaces all that an earlier process of the source said. unknown: up to 20 names that belong to no
    interface; unknown_count: how many there are. note: what people should know of the source although it answered. more: the
    next Diff is a part of this one (`frames` makes such parts of what is too much for one header, `Parts` joins them).
    """

    first: bool
    changed: dict[str, Fragment]
    removed: tuple[str, ...]
    unknown: tuple[str, ...]
    unknown_count: int
    note: str = ""
    more: bool = False


class ReadFailed(NamedTuple):
    """A source could not read, and will try again by itself in retry_in seconds."""

    reason: str
    retry_in: float


class Heartbeat(NamedTuple):
    """Still there. answered: the backend was heard too, and nothing is new."""

    answered: bool


class Merge(NamedTuple):
    """Merge the bodies (a later one wins) and validate them as the interface."""

    task: int
    interface: str
    bodies: tuple[bytes, ...]


class Merged(NamedTuple):
    """The answer to a Check."""

    task: int
    digest: str
    problems: tuple[str, ...]
    body: bytes


class Run(NamedTuple):
    """Run a handler once; timeout in seconds, 0 for none.

    env: NAME=VALUE each, of one name the last counts. stdin: what it reads there, in parts (once received: views),
    of which every second one is a body.
    """

    task: int
    rule: str
    argv: tuple[str, ...]
    env: tuple[bytes, ...]
    stdin: tuple[Part, ...]
    timeout: float


class Started(NamedTuple):
    """The handler of a Run has this pid, which is its process group and session too."""

    task: int
    pid: int


class RunFinished(NamedTuple):
    """How a Run ended.

    status: as os.waitstatus_to_exitcode gives it. problem: why it failed where the status does not say (else empty).
    tail: the last lines of its output. children: something that it started is still there. unusable: the interface
    whose data was no JSON object, so that nothing ran.
    """

    task: int
    status: int
    problem: str
    tail: tuple[str, ...]
    seconds: float
    children: bool
    unusable: str = ""


Message = Diff | ReadFailed | Heartbeat | Merge | Merged | Run | Started | RunFinished
_TYPES: dict[str, type] = {kind.__name__: kind for kind in (Diff, ReadFailed, Heartbeat, Merge, Merged, Run, Started, RunFinished)}
ALL: frozenset[type] = frozenset(_TYPES.values())
FROM_CHILDREN: frozenset[type] = frozenset({Diff, ReadFailed, Heartbeat, Merged, Started, RunFinished})
_Reader = Callable[[Any, "_Bodies"], Any]  # a value of a header's, and the bodies that it stands for


def digest(body: Part) -> str:
    """Return what stands for a body wherever the body itself is not needed."""
    return blake2b(body, digest_size=16).hexdigest()


def frames(message: Message) -> Iterator[list[Part]]:
    """Yield the frames of a message, each as its parts: one frame, but of a Diff as many as its header needs."""
    parts = encode(message)
    header, _ = SIZES.unpack_from(parts[0])
    if header <= HEADER_LIMIT or not isinstance(message, Diff) or len(message.changed) + len(message.removed) <= 1:
        yield parts
        return
    changed, removed = list(message.changed.items()), message.removed
    half, cut = -(-len(changed) // 2), len(removed) // 2  # so that neither part is empty
    yield from frames(message._replace(changed=dict(changed[:half]), removed=removed[:cut], more=True))
    yield from frames(message._replace(changed=dict(changed[half:]), removed=removed[cut:]))


class Parts:
    """The parts of a Diff that have come, until the last one comes."""

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
        self._size += sum(len(fragment.body) for fragment in part.changed.values())
        many = len(self._changed) + len(self._removed)
        if many > 2 * INTERFACE_LIMIT or self._size > DIFF_LIMIT:
            raise ProtocolError(f"a diff of {many} interfaces and {self._size} bytes, which is over the limit")
        if part.more:
            return None
        diff = part._replace(changed=self._changed, removed=tuple(self._removed))
        self.__init__()  # type: ignore[misc]
        return diff


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
        message = _reader(kind)(content, bodies)
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

    def take(self, size: Any) -> memoryview:  # noqa: ANN401 -- what the header holds
        if type(size) is not int or size < 0 or size > len(self._view) - self._at:
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


@cache  # made once for each type: a header may hold very many values
def _reader(kind: Any) -> _Reader:  # noqa: ANN401 -- any field's type
    """Return what makes a value of this type of a header's; it raises TypeError or ValueError where that is none."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind in (bytes, Part):
        return lambda value, bodies: bytes(bodies.take(value)) if kind is bytes else bodies.take(value)
    if kind is Fragment or kind in _TYPES.values():
        return _tuple_reader(kind)
    if origin is tuple and arguments[0] is str:

        def read_texts(value: Any, _bodies: _Bodies) -> tuple[str, ...]:  # noqa: ANN401 -- what the header holds
            if type(value) is not list or not set(map(type, value)) <= {str}:
                raise TypeError
            return tuple(value)

        return read_texts
    if origin is not None:
        read = _reader(arguments[1] if origin is dict else arguments[0])

        def read_all(value: Any, bodies: _Bodies) -> Any:  # noqa: ANN401 -- as above
            if origin is dict and type(value) is dict:
                return {key: read(item, bodies) for key, item in value.items()}
            if origin is tuple and type(value) is list:
                return tuple([read(item, bodies) for item in value])
            raise TypeError

        return read_all

    def read_plain(value: Any, _bodies: _Bodies) -> Any:  # noqa: ANN401 -- as above
        if kind is float and type(value) in (float, int) and abs(value) < 1e15:  # noqa: PLR2004 -- neither NaN nor infinite
            return float(value)
        if kind is float or type(value) is not kind or (kind is int and abs(value) >= 1 << 63):
            raise TypeError
        return value

    return read_plain


def _tuple_reader(kind: Any) -> _Reader:  # noqa: ANN401 -- a message's type, or Fragment
    fields = [_reader(hint) for hint in get_type_hints(kind).values()]
    check = _CHECKS.get(kind)

    def read(value: Any, bodies: _Bodies) -> Any:  # noqa: ANN401 -- what the header holds
        if type(value) is not list or len(value) != len(fields):
            raise TypeError
        found = kind(*[field(item, bodies) for field, item in zip(fields, value, strict=True)])
        if check:
            check(found)
        return found

    return read


def _check_verdict(verdict: Fragment | Merged) -> None:
    # By digests it is told which data a rule succeeded on, and whose bodies are the same.
    if verdict.body and verdict.digest != digest(verdict.body):
        raise ProtocolError("a digest that is not its body's")
    if len(verdict.problems) > PROBLEM_LIMIT or any(len(problem) > PROBLEM_LENGTH + 1 for problem in verdict.problems):
        raise ProtocolError(f"more than {PROBLEM_LIMIT} problems of one interface, or one of more than {PROBLEM_LENGTH} characters")


def _check_diff(diff: Diff) -> None:
    if len(diff.unknown) > UNKNOWN_LIMIT:
        raise ProtocolError(f"more than {UNKNOWN_LIMIT} unknown names")


_CHECKS: dict[type, Callable[[Any], None]] = {Fragment: _check_verdict, Merged: _check_verdict, Diff: _check_diff}
