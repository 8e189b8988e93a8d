"""What of a source's snapshots is news: compare, decode, fill in, validate, and send what changed."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from disco.data import values, verdicts
from disco.data.values import TooLargeError
from disco.errors import SourceError
from disco.named import NamedTuple
from disco.sources import InvalidValue
from disco.system.limits import Overrun, cpu_limit
from disco.text import NAME_LIMIT, PROBLEM_LIMIT, REASON_LIMIT, escape, plural, redact
from disco.wire import messages
from disco.wire.messages import Diff, Fragment, Heartbeat, ReadFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from disco.data.schema import Schema
    from disco.data.values import Json
    from disco.sources import Source
    from disco.wire.messages import Message

PROBLEMS_LIMIT = 1 << 20  # characters of all that is wrong in one diff; beyond, each interface has fewer problems
WELL_STEPS = 2  # good steps in a row after which a source is well again

log = logging.getLogger(__name__)


class DiffSender:
    """Knows what was sent last, and so what of a snapshot is news."""

    def __init__(
        self,
        source: Source,
        schemas: Mapping[str, Schema],
        interfaces: frozenset[str],
        send: Callable[[Message], None],
        silence: float,
    ) -> None:
        """Send nothing yet.

        interfaces: those with a schema that the source may provide. silence: seconds after which a heartbeat is due.
        """
        self._source = source
        # Asked for one name at a time: to go through a thousand would cost each of a thousand sources memory of its own.
        self._schemas = schemas
        self._interfaces = interfaces
        self._send = send
        self._silence = silence
        self._measured: dict[str, _Measured] = {}  # by interface
        self._filled: dict[str, int] = {}  # by interface that has a filled body: its size
        self._sent_digests: dict[str, str] = {}  # by interface
        self._sent_unknown: tuple[tuple[str, ...], int] | None = None
        self._note = self._sent_note = ""
        self._snapshot: object = self  # which no source yields
        self._sent_at = time.monotonic()
        self._heartbeats_due = 0  # good steps that are reported without news too: a source is well again only after some

    def publish(self, snapshot: Mapping[str, Any]) -> None:
        """Send what is new in a snapshot.

        Raises:
            SourceError: the snapshot is no mapping, or over a limit.

        """
        is_due = self._heartbeats_due > 0
        self._heartbeats_due = max(0, self._heartbeats_due - 1)
        if snapshot is not self._snapshot or self._note != self._sent_note:
            diff = self._diff(snapshot)
            self._snapshot = snapshot
            if diff:
                log.debug(
                    "sending %s changed, %d removed, %d unknown",
                    plural(len(diff.changed), "interface"), len(diff.removed), diff.unknown_count,
                )  # fmt: skip
                self._send_message(diff)
                return
        if is_due or self._is_silent():
            self._send_message(Heartbeat(answered=True))

    def note(self, text: str) -> None:
        """Take what people should know; it goes with the next snapshot."""
        self._note = escape(redact(text), REASON_LIMIT)

    def report_failure(self, reason: str, retry_in: float) -> None:
        """Send why nothing could be read, and in how many seconds that is tried again."""
        self._send_message(ReadFailed(reason=escape(redact(reason), REASON_LIMIT), retry_in=retry_in))
        self._heartbeats_due = WELL_STEPS

    def _send_message(self, message: Message) -> None:
        self._send(message)
        self._sent_at = time.monotonic()

    def _is_silent(self) -> bool:
        return time.monotonic() - self._sent_at >= self._silence

    def _diff(self, snapshot: Mapping[str, Any]) -> Diff | None:
        measured, dumped = _measure_all(snapshot, self._interfaces, self._measured)
        unknown = sorted(
            (str(name) for name in snapshot if name not in self._interfaces),
            key=lambda name: (name not in self._schemas, name),  # what some rule may wait for comes first
        )
        shown = (tuple(escape(name, NAME_LIMIT) for name in unknown[: messages.UNKNOWN_LIMIT]), len(unknown))
        first = self._sent_unknown is None
        made, filled = self._make_fragments(snapshot, measured, dumped)
        changed = {name: each for name, each in made.items() if first or each.digest != self._sent_digests.get(name)}
        removed = tuple(interface for interface in self._measured if interface not in measured)
        _bound_problems(changed)
        is_news = first or changed or removed or shown != self._sent_unknown or self._note != self._sent_note
        self._measured, self._filled = measured, filled
        self._sent_unknown, self._sent_note = shown, self._note
        for interface in removed:
            del self._sent_digests[interface]
        self._sent_digests |= {name: fragment.digest for name, fragment in changed.items()}
        if not is_news:
            return None
        return Diff(first=first, changed=changed, removed=removed, unknown=shown[0], unknown_count=shown[1], note=self._note)

    def _make_fragments(
        self, snapshot: Mapping[str, Any], measured: Mapping[str, _Measured], dumped: dict[str, bytes]
    ) -> tuple[dict[str, Fragment], dict[str, int]]:
        """Return the fragments of what is not as it was, and the sizes of all filled bodies of this source.

        dumped: the canonical JSON of what may have changed; loses that of each fragment.

        Raises:
            SourceError: the filled bodies are over the limit.

        """
        old = self._measured
        names = {name for name in dumped if name not in old or old[name].digest != measured[name].digest}
        filled = {name: size for name, size in self._filled.items() if name in measured and name not in names}
        room = values.SIZE_LIMIT - sum(filled.values())
        made: dict[str, Fragment] = {}
        for name in sorted(names):
            if self._is_silent():  # many of these may take long
                self._send_message(Heartbeat(answered=False))
            made[name] = self._make_fragment(name, snapshot[name], dumped.pop(name))
            if size := len(made[name].filled):
                filled[name] = size
                room -= size
            if room < 0:
                limit = values.SIZE_LIMIT >> 20
                raise SourceError(
                    f"more than {limit} MiB of data with defaults: narrow what is read (a longer prefix, fewer files)"
                )
        return made, filled

    def _make_fragment(self, interface: str, data: Json, dumped: bytes) -> Fragment:
        """Return an interface's data with its verdict; what is no mapping, or holds an InvalidValue, has no body."""
        schema = self._schemas[interface]
        digest = messages.digest(dumped)
        if reasons := verdicts.bounded(_find_invalid(data)):
            return Fragment(digest=digest, problems=reasons, body=b"")
        filled = b""
        problems: tuple[str, ...] | None
        try:
            with cpu_limit(verdicts.time_allowed(len(dumped))):
                # The verdict is about what is sent: read back, since the source's own mappings may be of another kind, or change.
                if not (self._source.text and values.is_plain(data)):
                    data = json.loads(dumped)
                if self._source.text:
                    data, dumped = schema.decode(data), b""  # no two copies at a time of what may be large
                    dumped = values.canonical(data)
                full = schema.fill(data, len(dumped))
                if full is data:
                    problems = schema.judge(data)
                else:
                    filled = values.canonical(full)
            if filled:
                with cpu_limit(verdicts.time_allowed(len(filled))):  # there may be much more of it
                    problems = schema.judge(full)
        except Overrun:
            return Fragment(digest=digest, problems=(verdicts.TOO_SLOW,), body=b"")
        except TooLargeError:
            problems = (verdicts.TOO_LARGE,)
        body = dumped if isinstance(data, dict) else b""
        verdict = "for the checker" if problems is None else "invalid" if problems else "valid"
        about = {"fields": {"interface": interface, "event": "validated"}}
        log.debug("interface %s: %s, %s", interface, plural(len(dumped), "byte"), verdict, extra=about)
        digest = messages.digest(dumped)
        if problems is None:
            return Fragment(digest=digest, problems=(), body=body, is_judged=False)
        return Fragment(digest=digest, problems=problems, body=body, filled=b"" if problems else filled)


class _Measured(NamedTuple):
    """An interface's data as it was yielded, the object itself; its number of nodes; its canonical JSON's size and digest."""

    data: Any
    nodes: int
    size: int
    digest: str


def _measure_all(
    snapshot: Mapping[str, Any], known: frozenset[str], before: Mapping[str, _Measured]
) -> tuple[dict[str, _Measured], dict[str, bytes]]:
    """Measure each known interface, and return the canonical JSON of those that are not the very object from before.

    Raises:
        SourceError: all of them together are over a limit, or JSON cannot hold one.

    """
    if not isinstance(snapshot, Mapping):
        raise SourceError("the source yielded no mapping")
    measured: dict[str, _Measured] = {}
    dumped: dict[str, bytes] = {}
    nodes, size = 1, 0
    for interface, data in snapshot.items():
        if interface not in known:
            continue
        measure = before.get(interface)
        if measure and measure.data is not data:
            measure = None
        count, depth = (measure.nodes, 0) if measure else values.measure(data)
        nodes += count + 1  # its name
        if len(measured) == messages.INTERFACE_LIMIT:
            raise SourceError(f"more than {messages.INTERFACE_LIMIT} interfaces: split them among several sources")
        if nodes > 2 * values.KEY_LIMIT + 1:
            raise SourceError(f"more than {values.KEY_LIMIT} keys: narrow what is read (a longer prefix, fewer files)")
        if depth > values.DEPTH_LIMIT:
            raise SourceError(f"data deeper than {values.DEPTH_LIMIT} levels")
        if not measure:
            body = dumped[interface] = _dump(data)
            measure = _Measured(data, count, len(body), messages.digest(body))
        size += measure.size
        if size > values.SIZE_LIMIT:
            limit = values.SIZE_LIMIT >> 20
            raise SourceError(f"more than {limit} MiB of data: narrow what is read (a longer prefix, fewer files)")
        measured[interface] = measure
    return measured, dumped


def _bound_problems(changed: dict[str, Fragment]) -> None:
    """Leave each interface as many problems as there is room for, but at least one."""
    invalid = {name: fragment for name, fragment in changed.items() if fragment.problems}
    if sum(len(problem) for fragment in invalid.values() for problem in fragment.problems) > PROBLEMS_LIMIT:
        room = max(1, PROBLEMS_LIMIT // (PROBLEM_LIMIT * len(invalid)))
        for name, fragment in invalid.items():
            changed[name] = fragment._replace(problems=verdicts.bounded(fragment.problems, min(room, verdicts.PROBLEMS_SHOWN)))


def _dump(data: Json) -> bytes:
    try:
        return values.canonical(data, _stand_in)
    except (TypeError, ValueError, RecursionError):
        raise SourceError("the source yielded what JSON cannot hold") from None


def _stand_in(value: object) -> str | list[str]:
    """Return what a value is compared by that JSON does not know: in a store's data only a Literal is a text in a list."""
    if isinstance(value, values.Literal):
        return [value.text]
    if isinstance(value, InvalidValue):
        return f"invalid: {value.reason}"
    raise TypeError


def _find_invalid(data: Json) -> Iterator[str]:
    """Yield the reason of each InvalidValue, with its pointer."""
    for path, leaf in values.find_leaves(data):
        if isinstance(leaf, InvalidValue):
            yield f"{values.pointer(path) or 'the interface'} {leaf.reason}"
