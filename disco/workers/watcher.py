"""The process around a source: bound each step, compare, decode, validate, send what changed, try again after errors.

May import client libraries only through the source that it runs; never the coordinator's modules.
"""

from __future__ import annotations

import gc
import json
import logging
import random
import signal
import time
from collections.abc import Generator, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

from disco.data import documents, schema
from disco.errors import SourceError, place_of
from disco.sources import InvalidValue
from disco.system.limits import Overrun, cpu_limit, time_limit
from disco.text import duration, escape, plural, redact
from disco.wire import messages
from disco.wire.messages import Diff, Fragment, Heartbeat, ReadFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from disco.data.schema import Schema
    from disco.sources import Context, Source
    from disco.wire.messages import Message

KEY_LIMIT = 100_000
NOTE_LIMIT = 500  # characters
PROBLEMS_LIMIT = 1 << 20  # characters of all that is wrong in one diff; beyond, fewer problems of each interface are told
RETRY_FIRST, RETRY_LAST, RETRY_AFTER_LAST = 0.25, 30.0, 60.0
SPREAD = 1.25
WELL_STEPS = 2  # good steps in a row after which a source is well again
MEMORY_LOOK = 0.05  # seconds of CPU time between looks at the memory
MARGIN = 1.0  # seconds by which a step may outlast its limit before it is interrupted

log = logging.getLogger(__name__)


def run(
    source: Source,
    context: Context,
    schemas: Mapping[str, Schema],
    send: Callable[[Message], None],
    limits: tuple[float, float],
) -> None:
    """Watch for ever: send a `Diff` for news, `Heartbeat` for none, `ReadFailed` for errors.

    limits: seconds that one step may take, and seconds of silence after which the coordinator wants to hear something.
    """
    gc.disable()  # until the first step is over: what a client library makes at its import stays
    step, quiet = limits
    publisher = DiffSender(source, schemas, context.interfaces, send, quiet)
    context = context._replace(note=publisher.note)
    send(Heartbeat(answered=False))
    errors = 0
    while True:
        retry_after = None
        good, good_since = 0, 0.0  # steps of this call
        publisher.note("")  # like all else, a note does not outlive the call
        try:
            with closing(_steps(source.watch(context), step + MARGIN)) as steps:
                for snapshot in steps:
                    publisher.publish(snapshot)
                    good, good_since = good + 1, good_since or time.monotonic()
                    gc.enable()
            reason = "the source ended by itself"
        except SourceError as error:
            reason, retry_after = error.reason, error.retry_after
        except Overrun:
            reason = f"no complete answer within {duration(step)}"
        except (Exception, SystemExit) as error:  # noqa: BLE001 -- a client library may raise anything; its text may hold secrets
            reason = f"the client library raised {type(error).__name__} (-l DEBUG shows where)"
            log.debug("%s raised at %s", type(error).__name__, place_of(error))
        # A backend may answer the first question of each call, and no other.
        if good >= WELL_STEPS or (good and time.monotonic() - good_since >= RETRY_LAST):
            errors = 0
        retry_in = backoff(errors, retry_after)
        errors += 1
        publisher.trouble(reason, retry_in)
        gc.enable()
        gc.collect()  # frames hold clients, and clients connections: what this call left in circles goes before the next one
        time.sleep(retry_in)


def tick(descriptor: int) -> None:
    """Let a byte be written to a non-blocking descriptor each time that this process has used some CPU time.

    So the coordinator looks at its memory when it can have grown, and never else. The interpreter's C code writes it as the timer's
    signal arrives, whatever a library's C code is at; a handler in Python would have to wait for that. An address space limit is of
    no use here: gRPC alone maps half a gigabyte.
    """
    signal.signal(signal.SIGPROF, lambda *_: None)
    signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)
    signal.setitimer(signal.ITIMER_PROF, MEMORY_LOOK, MEMORY_LOOK)


def backoff(errors: int, retry_after: float | None) -> float:
    """Return seconds to wait after so many errors in a row: exponential with full jitter, or what was asked for.

    To what was asked for up to a quarter is added: a server gives a whole fleet the same answer.
    """
    if retry_after is not None:
        return min(max(retry_after, RETRY_FIRST), RETRY_AFTER_LAST) * random.uniform(1, SPREAD)  # noqa: S311 -- no secret
    longest = min(RETRY_LAST, RETRY_FIRST * 2 ** min(errors, 10))
    return max(random.uniform(0, longest), RETRY_FIRST / 10)  # noqa: S311 -- no secret


class _Seen(NamedTuple):
    """An interface's data as it was yielded (the object itself), its number of nodes, and its canonical JSON's size and digest."""

    data: Any
    nodes: int
    size: int
    digest: str


class DiffSender:
    """What was sent last, and so what is news."""

    def __init__(
        self,
        source: Source,
        schemas: Mapping[str, Schema],
        interfaces: frozenset[str],
        send: Callable[[Message], None],
        quiet: float,
    ) -> None:
        """Send nothing yet. interfaces: what the source may provide. quiet: how long (seconds) nothing need be said."""
        self._source = source
        self._schemas = {name: found for name, found in schemas.items() if name in interfaces}
        self._refused = schemas.keys() - interfaces
        self._send = send
        self._quiet = quiet
        self._seen: dict[str, _Seen] = {}  # by interface
        self._sent: dict[str, str] = {}  # digests of what was sent
        self._unknown: tuple[tuple[str, ...], int] | None = None
        self._note = self._noted = ""  # of now, and as it was sent
        self._snapshot: object = self  # which no source yields
        self._told = time.monotonic()
        self._doubted = 0  # good steps that are told whatever they say: a source in trouble is well only after some

    def publish(self, snapshot: Mapping[str, Any]) -> None:
        """Send what is new in a snapshot.

        Raises:
            SourceError: the snapshot is no mapping, or over a limit.

        """
        doubted, self._doubted = self._doubted, max(0, self._doubted - 1)
        if snapshot is not self._snapshot or self._note != self._noted:
            diff = self._diff(snapshot)
            self._snapshot = snapshot
            if diff:
                log.debug(
                    "sending %s changed, %d removed, %d unknown",
                    plural(len(diff.changed), "interface"), len(diff.removed), diff.unknown_count,
                )  # fmt: skip
                self._tell(diff)
                return
        if doubted or time.monotonic() - self._told >= self._quiet:
            self._tell(Heartbeat(answered=True))

    def note(self, text: str) -> None:
        """Take what people should know; it goes with the next snapshot."""
        self._note = escape(redact(text), NOTE_LIMIT)

    def trouble(self, reason: str, retry_in: float) -> None:
        """Send why nothing could be read."""
        self._tell(ReadFailed(reason=escape(redact(reason), 500), retry_in=retry_in))
        self._doubted = WELL_STEPS

    def _tell(self, message: Message) -> None:
        self._send(message)
        self._told = time.monotonic()

    def _diff(self, snapshot: Mapping[str, Any]) -> Diff | None:
        seen, dumped = _dump_all(snapshot, self._schemas, self._seen)
        unknown = sorted(
            (str(name) for name in snapshot if name not in self._schemas),
            key=lambda name: (name not in self._refused, name),  # what some rule may wait for is told first
        )
        told = (tuple(escape(name, schema.NAME_LIMIT) for name in unknown[: messages.UNKNOWN_LIMIT]), len(unknown))
        first = self._unknown is None
        changed: dict[str, Fragment] = {}
        for interface in list(dumped):
            before = self._seen.get(interface)
            if before is None or before.digest != seen[interface].digest:
                if time.monotonic() - self._told >= self._quiet:  # many of these may take long
                    self._send(Heartbeat(answered=False))
                    self._told = time.monotonic()
                fragment = self._fragment(interface, snapshot[interface], dumped.pop(interface))
                if first or fragment.digest != self._sent.get(interface):
                    changed[interface] = fragment
        removed = tuple(interface for interface in self._seen if interface not in seen)
        _bound_problems(changed)
        news = first or changed or removed or told != self._unknown or self._note != self._noted
        self._seen, self._unknown, self._noted = seen, told, self._note
        for interface in removed:
            del self._sent[interface]
        self._sent |= {name: fragment.digest for name, fragment in changed.items()}
        if not news:
            return None
        return Diff(first=first, changed=changed, removed=removed, unknown=told[0], unknown_count=told[1], note=self._note)

    def _fragment(self, interface: str, data: Any, dumped: bytes) -> Fragment:  # noqa: ANN401 -- any JSON data
        """Return what is said of an interface; unusable data has no body."""
        found = self._schemas[interface]
        digest = messages.digest(dumped)
        if reasons := schema.bounded(_unusable(data)):
            return Fragment(digest=digest, problems=reasons, body=b"")
        try:
            with cpu_limit(schema.time_allowed(len(dumped))):
                # Judged is what is sent: read back where the source's own mappings and lists could be or become something else.
                if not (self._source.text and documents.is_plain(data)):
                    data = json.loads(dumped)
                if self._source.text:
                    data, dumped = found.decode(data), b""  # no two copies at a time of what may be large
                    dumped = schema.canonical(data)
                problems = found.problems(data)
        except Overrun:
            return Fragment(digest=digest, problems=(schema.TOO_SLOW,), body=b"")
        body = dumped if isinstance(data, dict) else b""
        verdict = "invalid" if problems else "valid"
        about = {"fields": {"interface": interface, "event": "validated"}}
        log.debug("interface %s: %s, %s", interface, plural(len(dumped), "byte"), verdict, extra=about)
        return Fragment(digest=messages.digest(dumped), problems=problems, body=body)


def _dump_all(
    snapshot: Mapping[str, Any], known: Mapping[str, Any], before: Mapping[str, _Seen]
) -> tuple[dict[str, _Seen], dict[str, bytes]]:
    """Return what is seen of each known interface, and the canonical JSON of those that are not the very object from before.

    Raises:
        SourceError: all of them together are over a limit, or JSON cannot hold one.

    """
    if not isinstance(snapshot, Mapping):
        raise SourceError("the source yielded no mapping")
    seen: dict[str, _Seen] = {}
    dumped: dict[str, bytes] = {}
    nodes, size = 1, 0
    for interface, data in snapshot.items():
        if interface not in known:
            continue
        found = before.get(interface)
        if found and found.data is not data:
            found = None
        count, depth = (found.nodes, 0) if found else documents.measure(data)
        nodes += count + 1  # its name
        if len(seen) == messages.INTERFACE_LIMIT:
            raise SourceError(f"more than {messages.INTERFACE_LIMIT} interfaces: split them among several sources")
        if nodes > 2 * KEY_LIMIT + 1:
            raise SourceError(f"more than {KEY_LIMIT} keys: narrow what is read (a longer prefix, fewer files)")
        if depth > documents.DEPTH_LIMIT:
            raise SourceError(f"data deeper than {documents.DEPTH_LIMIT} levels")
        if not found:
            body = dumped[interface] = _dump(data)
            found = _Seen(data, count, len(body), messages.digest(body))
        size += found.size
        if size > documents.SIZE_LIMIT:
            limit = documents.SIZE_LIMIT >> 20
            raise SourceError(f"more than {limit} MiB of data: narrow what is read (a longer prefix, fewer files)")
        seen[interface] = found
    return seen, dumped


def _bound_problems(changed: dict[str, Fragment]) -> None:
    """Leave each interface as many problems as there is room for, but at least one."""
    invalid = {name: fragment for name, fragment in changed.items() if fragment.problems}
    if sum(len(problem) for fragment in invalid.values() for problem in fragment.problems) > PROBLEMS_LIMIT:
        room = max(1, PROBLEMS_LIMIT // (messages.PROBLEM_LENGTH * len(invalid)))
        for name, fragment in invalid.items():
            changed[name] = fragment._replace(problems=schema.bounded(fragment.problems, min(room, schema.PROBLEM_LIMIT)))


def _dump(data: Any) -> bytes:  # noqa: ANN401 -- any JSON data
    try:
        return schema.canonical(data, _stand_in)
    except (TypeError, ValueError, RecursionError):
        raise SourceError("the source yielded what JSON cannot hold") from None


def _stand_in(value: object) -> str | list[str]:
    """Return what stands for it where data is compared: of a store's data no text is in a list but a Literal."""
    if isinstance(value, documents.Literal):
        return [value.text]
    if isinstance(value, InvalidValue):
        return f"unusable: {value.reason}"
    raise TypeError


def _unusable(data: Any, path: tuple[str | int, ...] = ()) -> Iterator[str]:  # noqa: ANN401 -- any JSON data
    """Yield the reasons of what cannot be used, each with its pointer."""
    if isinstance(data, InvalidValue):
        yield f"{schema.pointer(path) or 'the interface'} {data.reason}"
    elif isinstance(data, dict):
        for key, value in data.items():
            yield from _unusable(value, (*path, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from _unusable(value, (*path, index))


def _steps(source: Iterator[Mapping[str, Any]], limit: float) -> Generator[Mapping[str, Any], None, None]:
    """Yield from a source, each of its steps interrupted at the limit; close it when this one is closed."""
    try:
        while True:
            with time_limit(limit):
                try:
                    snapshot = next(source)
                except StopIteration:
                    return
            yield snapshot
    finally:
        try:
            with time_limit(limit):
                if isinstance(source, Generator):
                    source.close()
        except Exception as error:  # noqa: BLE001 -- why it was closed is what counts
            log.debug("%s raised at %s while the source was closed", type(error).__name__, place_of(error))
